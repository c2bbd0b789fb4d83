use super::{Done, Failure};
use crate::config::dictionary::{KEYS, Key, Kind, Need, Preset, below, find, meant, schema};
use std::process::ExitCode;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// What a key means, what it may be, and what holds without it
    Explain(Explain),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
}

#[derive(clap::Args, Debug)]
pub struct Explain {
    /// `feed.NAME.timezone`, `feed.pas.timezone` or `timezone`; without one, all keys are listed
    key: Option<String>,
}

pub fn run(command: &Command) -> Done {
    match command {
        Command::Schema => println!("{:#}", schema()),
        Command::Explain(Explain { key: None }) => {
            let wide = KEYS.iter().map(|key| key.path.len()).max().unwrap_or_default();
            KEYS.iter().for_each(|key| println!("{:wide$}  {}", key.path, first(key.meaning)));
        }
        Command::Explain(Explain { key: Some(asked) }) => print!("{}", explained(named(asked)?)),
    }
    Ok(ExitCode::SUCCESS)
}

/// By its whole path, or by its last words where they say which.
fn named(asked: &str) -> Result<&'static Key, Failure> {
    let near = meant(asked);
    let only = near.first().filter(|path| near.len() == 1 && path.ends_with(asked));
    find(asked).or_else(|| find(only?)).ok_or_else(|| {
        let hint = match near.as_slice() {
            [] => "`landbridge config explain` lists all keys".to_owned(),
            near => format!("did you mean {}?", near.join(" or ")),
        };
        Failure::usage(format!("no key {asked}; {hint}"))
    })
}

/// Its first sentence.
fn first(meaning: &str) -> &str {
    meaning.split_inclusive(". ").next().unwrap_or_default().trim_end()
}

fn explained(key: &Key) -> String {
    let mut text = format!("{}\n\n{}\n\n", key.path, key.meaning);
    let mut say = |word: &str, what: &str| text += &format!("{word:<9}{what}\n");
    say("value", &key.kind.to_string());
    match key.need {
        Need::Required => say("needed", "yes"),
        Need::Optional(without) => say("without", without),
        Need::Default(preset, reason) => {
            let preset = match preset {
                Preset::Text(text) => format!("\"{text}\""),
                Preset::Number(number) => number.to_string(),
            };
            say("default", &format!("{preset}: {reason}"));
        }
    }
    let path = if matches!(key.kind, Kind::NamedTables | Kind::Tables) { "" } else { key.path.rsplit('.').next().unwrap_or_default() };
    if !path.is_empty() {
        say("example", &format!("{path} = {}", key.example));
    }
    let keys: Vec<&str> = below(key.path).map(|key| key.path).collect();
    if !keys.is_empty() {
        say("keys", &keys.join("\n         "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_explained_with_its_default_and_example() {
        let text = explained(find("feed.pas.reply.transient").unwrap());
        assert!(text.starts_with("feed.NAME.reply.transient\n"), "{text}");
        for word in ["default", "example", "\"close\""] {
            assert!(text.contains(word), "{word} not in {text}");
        }
        assert!(explained(find("feed").unwrap()).contains("feed.NAME.timezone"));
        assert_eq!(named("timezone").map(|key| key.path).ok(), Some("feed.NAME.timezone"));
        let said = |asked: &str| named(asked).err().map(|failure| failure.reason).unwrap_or_default();
        assert_eq!(said("feed.pas.timezome"), "no key feed.pas.timezome; did you mean feed.NAME.timezone?");
        assert_eq!(said("feeds.pas.timezone"), "no key feeds.pas.timezone; did you mean feed.NAME.timezone?");
        assert_eq!(said("listen"), "no key listen; did you mean https.listen or mllp.NAME.listen or observe.listen?");
        assert_eq!(said("zzz"), "no key zzz; `landbridge config explain` lists all keys");
        assert!(KEYS.iter().all(|key| !first(key.meaning).is_empty()));
    }
}
