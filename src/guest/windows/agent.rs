//! Commands and small files by the agent of Systems Manager. It runs PowerShell, which hands each request to a program for Python.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::task::Command;

use super::life::bare;
use super::{BASICS, READ_FILE, Windows, plain, with_input, without_input};
use crate::life::{Agent, AgentFolders};

const REQUEST: &str = include_str!("../../../remote/windows/ssm-request.ps1");
const PACK: &str = include_str!("../../../remote/windows/ssm_pack.py");
const COMMAND: &str = include_str!("../../../remote/windows/ssm_command.py");

/// The places in the script where the program's text and its words are put.
const PLACES: [&str; 2] = ["$Text = ''", "$Words = ''"];

impl Agent for Windows {
    /// Below the folder of the machine's state, to which only SYSTEM and administrators have rights.
    fn folders(&self) -> AgentFolders {
        let tokens = "C:/ProgramData/hg-automation/ssm/tokens";
        AgentFolders { base: "C:/ProgramData/hg-automation/ssm", tokens }
    }

    fn document(&self) -> &'static str {
        "AWS-RunPowerShellScript"
    }

    fn text(&self, words: &[String]) -> String {
        let values = [STANDARD.encode(bare(COMMAND)), words.join(" ")];
        let put = |script: String, (place, value): (&str, &String)| {
            script.replacen(place, &place.replace("''", &format!("'{value}'")), 1)
        };
        PLACES.into_iter().zip(&values).fold(bare(REQUEST), put)
    }

    /// Files have no mode of Linux.
    fn write_whole(&self, path: &str, partial: &str, _: u32) -> Command {
        with_input(BASICS, &["write", path, partial])
    }

    fn read_whole(&self, path: &str, most: u64) -> Command {
        without_input(READ_FILE, &["piece", path, "0", &most.to_string()])
    }

    fn pack_whole(&self, path: &str, most: u64) -> Command {
        without_input(PACK, &[&plain(path), &most.to_string()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_script_with_the_program_and_its_words_in_their_places() {
        let words = ["C:/x", "", "put", "id", "aGVhZA=="].map(str::to_owned);
        let text = Windows.text(&words);
        assert!(text.contains("[string] $Words = 'C:/x  put id aGVhZA=='\n"), "{text}");
        let program = text.split_once("$Text = '").unwrap().1.split_once('\'').unwrap().0;
        assert_eq!(STANDARD.decode(program).unwrap(), bare(COMMAND).as_bytes());
        assert!(text.starts_with("[CmdletBinding()]\nparam(\n") && text.ends_with("\nexit $LASTEXITCODE\n"), "{text}");
        // The service would replace such a word.
        assert!(!text.contains("{{"));
        // A piece of 24 KiB in base64 has to fit as well, and a document has 64 KB.
        assert!(text.len() < 14_000, "{}", text.len());
    }
}
