//! What the demo prints, and whether each thing was as it was said to be.

use std::path::Path;

#[derive(Default)]
pub struct Show {
    failed: usize,
}

impl Show {
    pub fn step(&mut self, number: usize, title: &str) {
        println!("\n{number}. {title}\n");
    }

    /// One thing that must be so.
    pub fn check(&mut self, holds: bool, text: impl AsRef<str>) {
        self.failed += usize::from(!holds);
        println!("   {}  {}", if holds { "ok    " } else { "FAILED" }, text.as_ref());
    }

    /// What to look at.
    pub fn look(&self, text: impl AsRef<str>) {
        println!("           {}", text.as_ref());
    }

    /// A command that shows it again.
    pub fn command(&self, text: impl AsRef<str>) {
        println!("           $ {}", text.as_ref());
    }

    pub fn failed(&self) -> usize {
        self.failed
    }
}

/// A word for a POSIX shell.
pub fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// A path for a POSIX shell, from the current folder where it lies below.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(&here).ok().filter(|rest| !rest.as_os_str().is_empty()).unwrap_or(path);
    quoted(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_or_read_them() {
        let check = |word: &str, expected: &str| assert_eq!(quoted(word), expected);
        check("landbridge-demo/tls/ca.pem", "landbridge-demo/tls/ca.pem");
        check("my demo", "'my demo'");
        check("it's", r"'it'\''s'");
        check("$(x)", "'$(x)'");
        check("", "''");
    }
}
