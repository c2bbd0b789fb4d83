//! Who sits at the machine, for the audit.

use crate::audit::{Action, Agent, Entry};
use crate::os::user;
use jiff::Timestamp;

/// The operating system's user of this process, as an agent: `os:NAME`. Not from the environment, which anyone may set;
/// who became this user by sudo is named beside it, as sudo says.
pub fn agent() -> Agent {
    let names = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let who = match user() {
        Some(id) => name(&names, id).map_or_else(|| format!("os:{id}"), |name| format!("os:{name}")),
        None => "os:unknown".into(),
    };
    Agent { who, user: std::env::var("SUDO_USER").unwrap_or_default(), ..Agent::default() }
}

pub fn entry(action: Action, request: String, position: Option<u64>, at: Timestamp) -> Entry {
    Entry { request, position, ..Entry::new(at, action, agent()) }
}

/// The name of a user in the lines of passwd(5).
fn name(passwd: &str, id: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
        (uid.parse() == Ok(id)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_the_kernels_word_and_the_name_that_of_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nwren:x:1001:1001::/home/wren:\nbroken\n";
        assert_eq!(name(passwd, 0), Some("root"));
        assert_eq!(name(passwd, 1001), Some("wren"));
        assert_eq!(name(passwd, 7), None);
        assert!(agent().who.starts_with("os:"));
    }
}
