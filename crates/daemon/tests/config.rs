//! The configuration file under random input: whatever is in it, it is read or what is wrong is named.

use std::path::Path;

use banger_daemon::config::{ConfigError, HostFacts, KEYS, parse_config, plan_file_sync, resolve};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const FILE: &str = "/c/config.toml";

/// Something that may stand for a value: of the right type for some key, or for none.
fn values() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "true",
        "0",
        "-1",
        "90",
        "3.5",
        "9223372036854775807",
        "\"\"",
        "\"auto\"",
        "\"4G\"",
        "\"30m\"",
        "\"off\"",
        "\"10.0.0.0/24\"",
        "\"127.0.0.1:53\"",
        "\"~/x\"",
        "\"/x\"",
        "\"0600\"",
        "[]",
        "[1]",
        "{}",
        "{ vcpu = 1 }",
        "1979-05-27",
        "\"\"\"\n\n\"\"\"",
        "\"",
        "inf",
    ];
    prop_oneof![
        4 => select(KNOWN).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => any::<String>().prop_map(|text| format!("{text:?}")),
        1 => any::<i64>().prop_map(|number| number.to_string()),
    ]
}

/// A line of a file, or several: a key with a value, a table, or anything.
fn lines() -> impl Strategy<Value = String> {
    let names: Vec<&str> = KEYS
        .iter()
        .map(|key| key.name)
        .chain(["vcpu", "memory", "host", "guest", "mode", "a.b"])
        .collect();
    prop_oneof![
        6 => (select(names), values()).prop_map(|(name, value)| format!("{name} = {value}")),
        2 => select(&["[vm_defaults]", "[[file_sync]]", "[file_sync]", "[x]", "[[x.y]]", "# é"][..])
            .prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn what_is_wrong_is_named(lines in vec(lines(), 0..8)) {
        let text = lines.join("\n");
        match parse_config(&text, Path::new(FILE)) {
            Ok((file, warnings)) => {
                for warning in warnings {
                    prop_assert!(warning.contains(FILE) && warning.contains("unknown key"), "{warning}");
                }
                if let Err(error) = plan_file_sync(&file.file_sync, Some(Path::new("/home/u")), Path::new(FILE)) {
                    let entry = format!("configuration `{FILE}`, entry ");
                    prop_assert!(error.to_string().starts_with(&entry), "{error}");
                }
                let config = resolve(file, HostFacts::default());
                prop_assert!(!config.ready_timeout.value.is_zero());
            }
            Err(error) => {
                let place = format!("configuration `{FILE}`, line ");
                prop_assert!(error.to_string().starts_with(&place), "{error}");
                let ConfigError::Wrong { line, message, .. } = error else {
                    return Err(TestCaseError::fail(error.to_string()));
                };
                prop_assert!((1..=text.lines().count() + 1).contains(&line), "line {line} of {text:?}");
                prop_assert!(!message.is_empty());
            }
        }
    }
}
