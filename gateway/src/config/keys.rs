//! Key files that the configuration names.

use super::Config;
use contract::IdKey;
use std::path::Path;

impl Config {
    /// The installation's key of resource ids. The error names the file and says what it should hold.
    pub fn read_id_key(&self) -> Result<IdKey, String> {
        let text = std::fs::read_to_string(&self.id_key).map_err(|error| format!("{}: {}", self.id_key.display(), error.kind()))?;
        id_key(&text, &self.id_key)
    }
}

/// Hexadecimal digits of at least 16 bytes (`openssl rand -hex 32`); lines that begin with `#` are comments.
fn id_key(text: &str, file: &Path) -> Result<IdKey, String> {
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
    hex::decode(digits).ok().and_then(|secret| IdKey::new(&secret)).ok_or_else(|| {
        format!("{}: not a key: write at least 32 hexadecimal digits, e.g. what `openssl rand -hex 32` gives", file.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_key_is_hexadecimal_with_comments_around() {
        let check = |text: &str, good: bool| assert_eq!(id_key(text, Path::new("id.key")).is_ok(), good, "{text}");
        check("000102030405060708090a0b0c0d0e0f\n", true);
        check("# a comment\n00010203 04050607\n08090A0B0C0D0E0F10\n", true);
        check("00010203", false);
        check("000102030405060708090a0b0c0d0e0g", false);
        check("", false);
        let key = |text| id_key(text, Path::new("")).unwrap().id(&contract::Key::new("Patient", "a", "b"));
        assert_eq!(key("# x\n000102030405060708090a0b0c0d0e0f"), key("000102030405060708090A0B0C0D0E0F\n"));
    }
}
