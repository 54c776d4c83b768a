//! Sums of files' bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The SHA-256 of a file's bytes, 64 hexadecimal digits in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Sum(String);

impl Sha256Sum {
    /// Reads 64 hexadecimal digits in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let is_sum = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_sum.then(|| Self(text.to_ascii_lowercase()))
    }

    /// The sum of these 32 bytes.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Self::parse(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sha256Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Sha256Sum {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{}` is not a SHA-256", text.escape_debug()))
    }
}

impl From<Sha256Sum> for String {
    fn from(sum: Sha256Sum) -> Self {
        sum.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "85839e0f39e6cb893a88932aa36ef661759f3c5c5de4551ad26bd9df53cb71a2";

    #[test]
    fn sums_are_equal_whatever_their_case() {
        assert_eq!(Sha256Sum::parse(&SUM.to_uppercase()), Sha256Sum::parse(SUM));
        assert_eq!(Sha256Sum::of_bytes(&[0xab; 32]).unwrap().as_str(), "ab".repeat(32));
        assert_eq!(Sha256Sum::parse(&SUM[1..]), None);
        assert_eq!(Sha256Sum::of_bytes(&[1]), None);
    }
}
