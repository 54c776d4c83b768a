//! Where a definition's files come from: the binary itself, or a folder that the user names.

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use model::base::text;
use model::fault::Fault;

static BUILT_IN: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../images");

/// The file that makes a folder a definition.
const DEFINITION: &str = "image.toml";

/// The files of one definition.
pub(crate) struct DefinitionFiles {
    folder: Option<PathBuf>,
    name: String,
}

impl DefinitionFiles {
    /// The files of `name`.
    pub(crate) fn open(folder: Option<&Path>, name: &str) -> Result<Self, Fault> {
        Ok(Self { folder: folder.map(|folder| folder.join(name)), name: name.to_owned() })
    }

    /// Where a file is, for messages.
    pub(crate) fn place(&self, file: &str) -> String {
        match &self.folder {
            Some(folder) => folder.join(file).display().to_string(),
            None => format!("built-in {}/{file}", self.name),
        }
    }

    /// The text of `image.toml`.
    pub(crate) fn definition(&self) -> Result<String, Fault> {
        self.read(DEFINITION)
    }

    /// The text of a file directly in the definition's folder. A file that was saved on Windows reads, and hashes, as
    /// it would have if it had been saved on Unix: the shell of a machine takes a CR for a part of the word before it.
    pub(crate) fn read(&self, file: &str) -> Result<String, Fault> {
        if file.contains('/') || file == ".." {
            return Err(Fault::outside(format!(
                "`{file}` is not the name of a file beside `{}`",
                self.place(DEFINITION)
            )));
        }
        let fault = || Fault::outside(format!("cannot read `{}`", self.place(file)));
        match &self.folder {
            Some(folder) => std::fs::read_to_string(folder.join(file))
                .map(|read| text::unix(&read))
                .map_err(|error| fault().because(error)),
            None => BUILT_IN
                .get_file(format!("{}/{file}", self.name))
                .and_then(|file| file.contents_utf8())
                .map(str::to_owned)
                .ok_or_else(|| fault().because("there is no such file")),
        }
    }
}

/// The definitions in `folder`, or the built-in ones, sorted.
pub(crate) fn names(folder: Option<&Path>) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    match folder {
        None => names.extend(
            BUILT_IN
                .dirs()
                .filter(|dir| dir.get_file(dir.path().join(DEFINITION)).is_some())
                .map(|dir| dir.path().display().to_string()),
        ),
        Some(folder) => {
            let fault = |error| {
                let hint =
                    "Name a folder whose folders hold an `image.toml` each, such as `images` in the tool's own source.";
                Fault::usage(format!("cannot read `--images {}`", folder.display())).because(error).hint(hint)
            };
            for entry in std::fs::read_dir(folder).map_err(fault)? {
                let path = entry.map_err(fault)?.path();
                if path.join(DEFINITION).is_file() {
                    let name = path.file_name().and_then(|name| name.to_str());
                    let odd = || Fault::usage(format!("the name of the image in `{}` is not UTF-8", path.display()));
                    names.push(name.ok_or_else(odd)?.to_owned());
                }
            }
            if names.is_empty() {
                let message = format!("`--images {}` holds no folder with an `{DEFINITION}`", folder.display());
                return Err(Fault::usage(message).hint("Name the folder that the definitions' folders are in."));
            }
        }
    }
    names.sort();
    Ok(names)
}
