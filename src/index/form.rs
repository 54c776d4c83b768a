//! The fields of an upload: what kind of file it is, its sum, what the file says of itself, and what is to be done with it.

use model::release::ReleaseFile;

/// Fields that the form calls otherwise than in lower case with `_`.
const NAMES: [(&str, &str); 3] =
    [("classifier", "classifiers"), ("license-file", "license_files"), ("project-url", "project_urls")];

/// The field that says what is to be done. It stands behind the content: some servers (pypiserver 2.4 was seen to) take a
/// form that was cut off, and the half file in it, but none does so without this.
pub(crate) const ACTION: (&str, &str) = (":action", "file_upload");

/// The fields before the content, in order; some stand in it more than once.
pub(crate) fn fields(file: &ReleaseFile) -> Vec<(String, String)> {
    let (interpreter, metadata) = match &file.package {
        Some(package) => (package.interpreter.as_str(), package.metadata.as_str()),
        None => ("", ""),
    };
    let own = [
        ("protocol_version", "1"),
        ("filetype", "bdist_wheel"),
        ("pyversion", interpreter),
        ("sha256_digest", file.sha256.as_str()),
    ];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    own.chain(described(metadata)).collect()
}

/// The fields that the metadata's text has: headers as of a letter, and behind an empty line the description.
fn described(metadata: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let metadata = metadata.replace("\r\n", "\n");
    let (head, body) = metadata.split_once("\n\n").unwrap_or((&metadata, ""));
    for line in head.lines() {
        match (line.strip_prefix([' ', '\t']), fields.last_mut()) {
            (Some(more), Some((_, value))) => {
                value.push('\n');
                value.push_str(more);
            }
            _ => {
                if let Some((key, value)) = line.split_once(':') {
                    fields.push((name_of(key), value.trim().to_owned()));
                }
            }
        }
    }
    if !body.trim().is_empty() {
        fields.push(("description".to_owned(), body.to_owned()));
    }
    fields
}

fn name_of(key: &str) -> String {
    let key = key.trim().to_ascii_lowercase();
    let other = NAMES.iter().find(|(name, _)| *name == key);
    other.map_or_else(|| key.replace('-', "_"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_wheel_says_of_itself_is_told_in_the_forms_words() {
        let text = "Metadata-Version: 2.4\nName: mercurial\nProject-URL: home, https://x/\nClassifier: A :: B\nClassifier: C\n\
                    Requires-Dist: zstandard; extra == \"zstd\"\nLicense: one\n        two\nProvides-Extra: zstd\n\nTitle\n=====\n\nText: x\n";
        let expected = [
            ("metadata_version", "2.4"),
            ("name", "mercurial"),
            ("project_urls", "home, https://x/"),
            ("classifiers", "A :: B"),
            ("classifiers", "C"),
            ("requires_dist", "zstandard; extra == \"zstd\""),
            ("license", "one\n       two"),
            ("provides_extra", "zstd"),
            ("description", "Title\n=====\n\nText: x\n"),
        ];
        let found = described(text);
        let found: Vec<(&str, &str)> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
        assert_eq!(described(&text.replace('\n', "\r\n")), described(text));
    }
}
