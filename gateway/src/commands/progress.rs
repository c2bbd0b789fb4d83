//! A bar for long work: on standard error, and only where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over so many; the unit is said behind the count.
pub fn bar(total: u64, unit: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{bar:40}} {{pos}} of {{len}} {unit}, {{per_sec}}, {{eta}} left"));
    ProgressBar::new(total).with_style(style.expect("the template is fixed"))
}
