//! `weir token new`: makes a token for the HTTP API. It is shown once, and kept nowhere.

use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::{EXIT_UNAVAILABLE, say};
use crate::config::http::{HASH_PREFIX, Role};

/// What a token begins with, so that those who look for lost secrets find it.
const PREFIX: &str = "weir_";

/// What `weir token` is to do.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Makes a token, and the line with its hash for `http.tokens` of the pipeline file.
    New {
        /// Whose it is: lower case, digits, `-` and `_`
        #[arg(long, value_name = "NAME", default_value = "me", value_parser = name)]
        name: String,
        /// What it may be used for: viewer (status and metrics), operator (also records, reload, rollback), admin
        #[arg(long, value_enum, default_value = "viewer")]
        role: Role,
    },
}

/// Does it, and gives the exit code.
pub fn run(command: &TokenCommand) -> u8 {
    let TokenCommand::New { name, role } = command;
    let mut random = [0; 32];
    if let Err(error) = getrandom::fill(&mut random) {
        say(&format!("weir: the system gives no random numbers: {error}"));
        return EXIT_UNAVAILABLE;
    }
    let token = token(&random);
    // Whoever closed the pipe wants no more.
    let _ = writeln!(std::io::stdout().lock(), "{token}");
    say(&format!("This token is shown once. Put this under `http.tokens`:\n  - {}", line(name, *role, &token)));
    0
}

fn name(text: &str) -> Result<String, String> {
    crate::config::is_name(text).map(|()| text.to_owned())
}

fn token(random: &[u8; 32]) -> String {
    format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random))
}

fn line(name: &str, role: Role, token: &str) -> String {
    format!("{{ name: {name}, role: {}, hash: {HASH_PREFIX}{} }}", role.word(), blake3::hash(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_hash_of_the_token_and_not_the_token() {
        let token = token(&[7; 32]);
        assert_eq!(token.len(), PREFIX.len() + 43);
        let line = line("ci", Role::Operator, &token);
        assert!(!line.contains(&token));
        let hash = line.rsplit_once("hash: ").unwrap().1.trim_end_matches(" }");
        assert_eq!(crate::config::http::hash(hash).unwrap(), *blake3::hash(token.as_bytes()).as_bytes());
    }
}
