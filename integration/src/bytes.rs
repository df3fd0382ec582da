//! Bytes in YAML: as text if they are text, otherwise as `{hex: …}`, and as `{repeat: …}` if they are long.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ByteText {
    Text(String),
    Hex(Hex),
    Repeat(Repeat),
    Join(Join),
}

/// `{hex: "ff fe"}`; blanks are ignored.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hex {
    pub hex: String,
}

/// `{repeat: "ab", times: 1000}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    pub repeat: String,
    pub times: usize,
}

/// `{join: ["a", {hex: "ff"}]}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    pub join: Vec<ByteText>,
}

impl ByteText {
    pub fn bytes(&self) -> Result<Vec<u8>> {
        match self {
            ByteText::Text(text) => Ok(text.clone().into_bytes()),
            ByteText::Hex(Hex { hex }) => from_hex(hex),
            ByteText::Repeat(Repeat { repeat, times }) => Ok(repeat.repeat(*times).into_bytes()),
            ByteText::Join(Join { join }) => {
                let parts: Result<Vec<Vec<u8>>> = join.iter().map(ByteText::bytes).collect();
                Ok(parts?.concat())
            }
        }
    }
}

impl From<&str> for ByteText {
    fn from(text: &str) -> ByteText {
        ByteText::Text(text.to_owned())
    }
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let digits: String = text.split_whitespace().collect();
    hex::decode(digits).with_context(|| format!("{text:?} is no hex"))
}
