//! What a user wants done once to an image, beyond its definition: a layer of its own, kept and found again like every other.

use std::path::Path;
use std::time::Duration;

use data_encoding::HEXLOWER;
use model::base::text;
use model::fault::Fault;
use model::image::{Fingerprint, ImagePlan, LayerPlan, LayerRecipe};
use model::script::ScriptFile;
use sha2::{Digest, Sha256};

use crate::image::fingerprint;

/// The script that runs it.
const SCRIPT: &str = include_str!("../../../remote/runners/set-up-image.sh");

/// The name of the file with it, beside the script.
const FILE: &str = "set-up";

/// The layer's name, and a part of the image's.
pub const NAME: &str = "setup";

/// How many digits of what is set up are part of the image's name.
const DIGITS: usize = 6;

/// How long it may take: as long as the longest step of an image of ours.
const LIMIT: Duration = Duration::from_secs(3600);

/// The longest script.
const SCRIPT_CAP: u64 = 1 << 20;

/// What to do where there is nothing to set up.
pub(crate) const NOTHING: &str =
    "Leave it out where nothing is to be set up, or give a line for the shell or a file with a script.";

/// The lines that root runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUp {
    /// The line, or the file's name.
    what: String,
    text: String,
}

impl SetUp {
    /// Reads what a user gave: the name of a file with a script, below `folder` where it is not absolute, or else a line for the shell.
    pub fn read(given: &str, folder: &Path) -> Result<Self, Fault> {
        let path = &folder.join(given);
        let text = match path.metadata() {
            Ok(found) if found.is_file() => {
                let failed = |why: String| Fault::usage(format!("cannot read the script `{given}`")).because(why);
                if found.len() > SCRIPT_CAP {
                    return Err(failed(format!("it has more than {}", text::bytes(SCRIPT_CAP))));
                }
                text::unix(&std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?)
            }
            _ if given.contains('/') && !given.contains(char::is_whitespace) => {
                return Err(Fault::usage(format!("there is no script `{given}`"))
                    .hint("What has no space and a `/` in it is taken for a file, all else for a line of the shell."));
            }
            _ => format!("{given}\n"),
        };
        if text.trim().is_empty() {
            let fault = Fault::usage(match given.trim() {
                "" => "`--setup` has nothing to do: its line is empty".to_owned(),
                _ => format!("`--setup` has nothing to do: the script `{given}` is empty"),
            });
            return Err(fault.hint(NOTHING));
        }
        Ok(Self { what: given.to_owned(), text })
    }

    /// The name of an image with it upon that which is called `name`: what is set up tells it from others.
    pub(crate) fn name(&self, name: &str) -> String {
        let digest = HEXLOWER.encode(&Sha256::digest(self.text.as_bytes()));
        format!("{name}-{NAME}-{}", digest.get(..DIGITS).unwrap_or(&digest))
    }

    /// `plan` with it on top.
    pub fn upon(&self, plan: ImagePlan) -> ImagePlan {
        let mut layers = plan.layers.clone();
        layers.push(self.layer(&plan.fingerprint()));
        ImagePlan { name: self.name(&plan.name), layers, ..plan }
    }

    /// The layer upon another.
    pub(crate) fn layer(&self, below: &Fingerprint) -> LayerPlan {
        let files = vec![ScriptFile { name: FILE.into(), text: self.text.clone().into() }];
        LayerPlan {
            name: NAME.to_owned(),
            description: format!("Setting up: {}", text::cut(&self.what, 60)),
            fingerprint: fingerprint::script(below, SCRIPT, &files, &[]),
            recipe: LayerRecipe::Script { text: SCRIPT.to_owned(), files, env: Vec::new(), limit: LIMIT },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_anything_else_is_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "#!/bin/sh\r\ntrue\r\n").unwrap();
        let read = |given: &str| SetUp::read(given, Path::new(""));
        assert_eq!(read(file.to_str().unwrap()).unwrap().text, "#!/bin/sh\ntrue\n");
        assert_eq!(read("apt-get install -y jq").unwrap().text, "apt-get install -y jq\n");
        for nothing in ["", " ", "\n"] {
            let fault = read(nothing).unwrap_err();
            assert!(fault.message.ends_with("its line is empty") && fault.hint.unwrap().contains("Leave it out"));
        }
        assert!(read("./missing.sh").is_err() && read("/").is_err() && read("rm /x").is_ok());
        std::fs::write(&file, b"\xff").unwrap();
        assert!(read(file.to_str().unwrap()).unwrap_err().message.starts_with("cannot read the script"));
    }

    #[test]
    fn what_is_done_shapes_the_layer() {
        let below = Fingerprint("0".repeat(64));
        let layer = |line: &str| SetUp::read(line, Path::new("/")).unwrap().layer(&below);
        assert_eq!(layer("true").fingerprint, layer("true").fingerprint);
        assert_ne!(layer("true").fingerprint, layer("false").fingerprint);
    }
}
