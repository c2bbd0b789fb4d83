//! `landbridge learn`: from samples to a feed that takes them.

use crate::messages::{Person, SECRETS, adt, visit};
use flows::{Folder, run};
use std::fs;

#[test]
fn a_drafted_feed_takes_the_messages_that_it_was_learned_from() {
    let folder = Folder::new();
    let samples = folder.path().join("samples");
    fs::create_dir(&samples).expect("a folder");
    let bed = visit("I", "WARD1", "V5001", "202603010930", "");
    let messages = [("A01", "L1"), ("A03", "L2")].map(|(event, id)| adt(event, id, "20260301093000", &Person::ottoline(), &[&bed]));
    for (number, message) in messages.iter().enumerate() {
        fs::write(samples.join(format!("{number}.hl7")), message).expect("written");
    }
    fs::write(samples.join("note.txt"), "no message").expect("written");
    let draft = folder.path().join("draft.toml");
    let (samples, file) = (samples.to_str().expect("UTF-8 path"), draft.to_str().expect("UTF-8 path"));
    let (code, said, errors) = run(&["learn", samples, "--output", file]);
    assert_eq!((code, said.as_str(), errors.as_str()), (0, "", ""));
    let text = fs::read_to_string(&draft).expect("a draft");
    assert!(text.replace("\n# ", " ").contains("Passed over: 1 other file.") && text.contains("accepts = [\"ADT\"]"), "{text}");
    for secret in SECRETS {
        assert!(!text.contains(secret), "{text}");
    }
    // Nothing is overwritten, and nothing is made of nothing.
    assert_eq!(run(&["learn", samples, "--output", file]).0, 2);
    assert_eq!(run(&["learn", &format!("{samples}/note.txt")]).0, 1);

    // In place of the feed that is there.
    let config = fs::read_to_string(folder.config()).expect("a configuration");
    let (feed, next) = (config.find("[feed.pas]").expect("a feed"), config.find("[feed.lab]").expect("a feed"));
    fs::write(folder.config(), format!("{}{text}{}", &config[..feed], &config[next..])).expect("written");
    let (code, _, errors) = folder.run(&["check"]);
    assert_eq!(code, 0, "{errors}");
    let gateway = folder.serve();
    let mut pas = gateway.sender("pas");
    for message in &messages {
        assert!(pas.send(message).expect("a reply").contains("MSA|AA|"));
    }
    assert!(folder.journal().iter().all(|frame| frame["outcome"] == "stored"), "{:?}", folder.journal());
}
