//! Any words are a command line, or an error that says why not.

use std::sync::LazyLock;

use clap::Command;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::examples::walk;

static GRAMMAR: LazyLock<Command> = LazyLock::new(|| {
    let mut grammar = banger_cli::command();
    grammar.build();
    grammar
});

/// The words of commands, one list for each, and every flag and value that is known somewhere.
static COMMANDS: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| {
    let mut commands = Vec::new();
    walk(&GRAMMAR, "banger", &mut |words, _| {
        commands.push(words.split(' ').map(str::to_owned).collect());
    });
    commands
});
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut words: Vec<String> =
        ["--", "-", "", "=", "web", "4G", "-1", "99999999999999999999", "a=b", "é:"]
            .map(str::to_owned)
            .to_vec();
    walk(&GRAMMAR, "banger", &mut |_, command| {
        for arg in command.get_arguments() {
            words.extend(arg.get_long().map(|long| format!("--{long}")));
            words.extend(arg.get_short().map(|short| format!("-{short}")));
            words.extend(arg.get_possible_values().iter().map(|value| value.get_name().to_owned()));
        }
    });
    words.sort();
    words.dedup();
    words
});

fn words() -> impl Strategy<Value = String> {
    let known = || select(WORDS.as_slice());
    prop_oneof![
        6 => known(),
        1 => (known(), known()).prop_map(|(flag, value)| format!("{flag}={value}")),
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 768, ..ProptestConfig::default() })]

    #[test]
    fn no_words_confuse_the_grammar(command in select(COMMANDS.as_slice()), more in vec(words(), 0..6)) {
        let line: Vec<_> = command.into_iter().chain(more).collect();
        if let Err(error) = GRAMMAR.clone().try_get_matches_from(line) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
