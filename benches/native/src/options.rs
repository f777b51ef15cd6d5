//! `key=value` arguments: a map with typed, checked look-ups.

use std::collections::BTreeMap;

/// The arguments after the command.
#[derive(Debug)]
pub(crate) struct Options(BTreeMap<String, String>);

impl Options {
    /// Parses `key=value` words.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut map = BTreeMap::new();
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                return Err(format!("expected key=value, got {word}"));
            };
            map.insert(key.to_owned(), value.to_owned());
        }
        Ok(Self(map))
    }

    /// The text of `key`, or `default`.
    pub(crate) fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.0.get(key).map_or(default, String::as_str)
    }

    /// The number of `key`, or `default`.
    pub(crate) fn number(&self, key: &str, default: usize) -> Result<usize, String> {
        match self.0.get(key) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("{key} must be a number, got {text}")),
        }
    }
}
