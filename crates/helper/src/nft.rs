//! nftables: its program loads the rules' text, in one transaction, so that there is never half of it.

use std::process::Output;

use crate::program::{Program, ProgramError};
use crate::rules::TABLE;

/// The caller's deadline is the one that counts: a helper that is killed leaves a transaction that is done
/// or not.
const NFT: Program = Program { name: "nft", package: "nftables", deadline: None };

/// The hooks at which packets to guests, and from guests to the host, can be dropped.
const HOOKS: [&str; 2] = ["forward", "input"];

/// Loads rules from their text: all of it or nothing.
///
/// # Errors
///
/// The program is missing, or refuses the text.
pub fn load(text: &str) -> Result<(), ProgramError> {
    NFT.run(&["-f", "-"], text).map(drop)
}

/// Whether both tables are there.
///
/// # Errors
///
/// The program is missing or fails.
pub fn observe_tables() -> Result<bool, ProgramError> {
    let text = list(&["tables"])?;
    let there = |family| text.lines().any(|line| line == format!("table {family} {TABLE}"));
    Ok(there("inet") && there("bridge"))
}

/// Both tables as text, without what counters have counted.
///
/// # Errors
///
/// The program is missing or fails; so it does when one of them is not there.
pub fn list_tables() -> Result<String, ProgramError> {
    // Of several lists at a time, some versions show one only.
    let one = |family| list_with(&["-s"], &["table", family, TABLE]);
    Ok(one("inet")? + &one("bridge")?)
}

/// Chains of others that drop what they have no rule for, and whose table does not name the interface
/// `bridge`: packets pass only where all tables let them. As `FAMILY TABLE CHAIN`.
///
/// # Errors
///
/// The program is missing or fails.
pub fn observe_dropping(bridge: &str) -> Result<Vec<String>, ProgramError> {
    let mut found = Vec::new();
    for Chain { family, table, name } in parse_dropping(&list(&["chains"])?) {
        // One that has gone meanwhile drops nothing.
        let rules = list(&["table", family, table]).unwrap_or_default();
        if !rules.is_empty() && !rules.contains(&format!("\"{bridge}\"")) {
            found.push(format!("{family} {table} {name}"));
        }
    }
    Ok(found)
}

fn list(what: &[&str]) -> Result<String, ProgramError> {
    list_with(&[], what)
}

fn list_with(options: &[&str], what: &[&str]) -> Result<String, ProgramError> {
    let Output { stdout, .. } = NFT.run(&[options, &["list"], what].concat(), "")?;
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// A chain.
#[derive(Debug, PartialEq, Eq)]
struct Chain<'a> {
    family: &'a str,
    table: &'a str,
    name: &'a str,
}

/// The chains at [`HOOKS`] that drop by policy, in the text of `nft list chains`.
fn parse_dropping(text: &str) -> Vec<Chain<'_>> {
    let (mut family, mut table, mut name) = ("", "", "");
    let mut found = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["table", of, called, "{"] => (family, table) = (of, called),
            ["chain", called, "{"] => name = called,
            ["type", "filter", "hook", hook, .., "policy", "drop;"]
                if HOOKS.contains(&hook) && ["ip", "inet"].contains(&family) && table != TABLE =>
            {
                found.push(Chain { family, table, name });
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_that_drop() {
        let text = "\
table ip filter {
	chain DOCKER-USER {
	}
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
	}
	chain OUTPUT {
		type filter hook output priority filter; policy drop;
	}
}
table ip6 filter {
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
	}
}
table inet banger {
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
table inet fw {
	chain in {
		type filter hook input priority filter - 10; policy drop;
	}
	chain fwd {
		type filter hook forward priority filter; policy accept;
	}
}
";
        let chain = |family, table, name| Chain { family, table, name };
        assert_eq!(
            parse_dropping(text),
            [chain("ip", "filter", "FORWARD"), chain("inet", "fw", "in")]
        );
        assert_eq!(parse_dropping(""), []);
    }
}
