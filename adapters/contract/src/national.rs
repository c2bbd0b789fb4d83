/// The ten digits of a valid NHS number: modulus 11 (NHS Data Dictionary, NHS NUMBER), and none of the placeholders that pass
/// it: all digits alike. Spaces and hyphens between the digits are left out.
pub fn nhs_number(text: &str) -> Option<String> {
    let digits: Vec<u32> = text.chars().filter(|char| !matches!(char, ' ' | '-')).map(|char| char.to_digit(10)).collect::<Option<_>>()?;
    let [head @ .., check] = &digits[..] else { return None };
    if head.len() != 9 || digits.iter().all(|digit| digit == check) {
        return None;
    }
    let sum: u32 = head.iter().zip((2..=10).rev()).map(|(digit, weight)| digit * weight).sum();
    let wanted = 11 - sum % 11;
    (wanted % 11 == *check && wanted != 10).then(|| digits.iter().filter_map(|digit| char::from_digit(*digit, 10)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nhs_numbers_are_checked() {
        for (text, expected) in [
            ("9434765919", Some("9434765919")),
            ("943 476 5919", Some("9434765919")),
            ("943-476-5919", Some("9434765919")),
            ("9434765918", None),
            ("0000000000", None),
            ("3333333333", None),
            ("9999999999", None),
            ("943476591", None),
            ("94347659190", None),
            ("943476591X", None),
            ("٩434765870", None),
            ("", None),
        ] {
            assert_eq!(nhs_number(text).as_deref(), expected, "{text}");
        }
    }
}
