//! Made-up releases: what is in the folder, and what is wrong with it.

use std::io::Write;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

const BUILD_FILE: &str =
    "[project]\nname = 'mercurial'\nrequires-python = '>=3.9'\n[tool.cibuildwheel]\nbuild = 'cp313-*'\n";

const NAMES: [&str; 6] = [
    "Mercurial-1.2-x64.exe",
    "Mercurial-1.2-x86.exe",
    "mercurial-1.2-cp313-cp313-win32.whl",
    "mercurial-1.2-cp313-cp313-win_amd64.whl",
    "mercurial-1.2-x64.msi",
    "mercurial-1.2-x86.msi",
];

fn version() -> ReleaseVersion {
    ReleaseVersion::parse("1.2").unwrap()
}

/// A wheel whose metadata says `name` and `version`, and that it is for `tag`.
fn wheel(name: &str, version: &str, tag: &str) -> Vec<u8> {
    let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut add = |path: &str, text: &str| {
        archive.start_file(path, SimpleFileOptions::default()).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    };
    add("mercurial/x.py", &"# much of the same\n".repeat(500));
    let about = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: other\n");
    add("mercurial-1.2.dist-info/METADATA", &about);
    add("mercurial-1.2.dist-info/WHEEL", &format!("Wheel-Version: 1.0\nTag: {tag}\n"));
    archive.finish().unwrap().into_inner()
}

/// A folder with a whole release.
fn whole() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let bytes = match name.rsplit_once('.').unwrap().1 {
            "whl" => wheel("mercurial", "1.2", &name["mercurial-1.2-".len()..name.len() - 4]),
            "exe" => b"MZ and more".to_vec(),
            _ => [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1, 1].to_vec(),
        };
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn collected(folder: &Path, installers: bool) -> Result<Vec<ReleaseFile>, Fault> {
    collect(&Wanted { version: &version(), build_file: BUILD_FILE, installers }, folder)
}

#[test]
fn all_files_of_a_release_are_found_with_what_they_are() {
    let folder = whole();
    let files = collected(folder.path(), true).unwrap();
    assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), NAMES);
    let package = files[3].package.as_ref().unwrap();
    assert_eq!(package.interpreter, "cp313");
    assert!(package.metadata.starts_with("Metadata-Version: 2.1\nName: mercurial\n"));
    assert_eq!((files[0].size, &files[0].package), (11, &None));
    let sum = "70b124582896b69a269eeab5ddb2da4b62b9f278cc47c8aca05fc861058c4a75";
    assert_eq!(files[0].sha256.as_str(), sum);
    // Without installers the wheels alone count.
    for name in NAMES.iter().filter(|name| !name.ends_with(".whl")) {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert_eq!(collected(folder.path(), false).unwrap().len(), 2);
    let fault = collected(folder.path(), true).unwrap_err();
    assert!(fault.message.starts_with("4 of the 6 files of 1.2 are not in"), "{fault:?}");
    assert!(fault.line().contains("mercurial-1.2-x64.msi"), "{fault:?}");
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_refused() {
    let name = NAMES[3];
    let right = wheel("mercurial", "1.2", "cp313-cp313-win_amd64");
    let mut damaged = right.clone();
    damaged[45] ^= 0xff;
    for (name, bytes, told) in [
        (name, right[..right.len() - 30].to_vec(), "no whole ZIP archive"),
        (name, Vec::new(), "no whole ZIP archive"),
        (name, damaged, "damaged"),
        (name, wheel("other", "1.2", "cp313-cp313-win_amd64"), "`Name: other`"),
        (name, wheel("mercurial", "1.3", "cp313-cp313-win_amd64"), "`Version: 1.3`"),
        (name, wheel("mercurial", "1.2", "cp313-cp313-win32"), "`cp313-cp313-win_amd64`"),
        (NAMES[0], b"#!/bin/sh".to_vec(), "`MZ`"),
        (NAMES[4], b"MZ".to_vec(), "as an MSI does"),
    ] {
        let folder = whole();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let fault = collected(folder.path(), true).unwrap_err();
        assert!(fault.line().contains(told) && fault.message.contains(name), "{told}: {fault:?}");
    }
}

#[test]
fn the_manifest_is_believed_neither_about_bytes_nor_about_names() {
    let folder = whole();
    let files = collected(folder.path(), true).unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let entry =
            |file: &ReleaseFile| serde_json::json!({"name": file.name, "size": file.size, "sha256": file.sha256});
        let entries: Vec<_> = files.iter().map(entry).collect();
        let mut manifest = serde_json::json!({"version": "1.2", "artifacts": entries});
        change(&mut manifest);
        std::fs::write(folder.path().join(MANIFEST), manifest.to_string()).unwrap();
        collected(folder.path(), true)
    };
    assert_eq!(with(&|_| {}).unwrap(), files);
    let told = |change: &dyn Fn(&mut serde_json::Value)| with(change).unwrap_err().line();
    assert!(told(&|all| all["artifacts"][2]["size"] = 1.into()).contains("the manifest beside it says 1"));
    assert!(
        told(&|all| all["artifacts"][2]["sha256"] = "0".repeat(64).into()).contains("the manifest beside it says 00")
    );
    assert!(told(&|all| all["artifacts"][0]["rehearsal"] = true.into()).contains("is a rehearsal"));
    assert!(told(&|all| all["version"] = "1.1".into()).contains("is of version `1.1`"));
    let more = |name: &str| {
        let mut entry = serde_json::json!({"size": 1, "sha256": "0".repeat(64)});
        entry["name"] = name.into();
        told(&move |all| all["artifacts"].as_array_mut().unwrap().push(entry.clone()))
    };
    assert!(more("mercurial-1.2-cp315-cp315-win32.whl").contains("1 of the 7 files"));
    assert!(more("../x.whl").contains("is not the name of an artifact"));
}

#[test]
fn a_folder_of_another_version_is_told_by_it() {
    let folder = whole();
    let other = ReleaseVersion::parse("1.3").unwrap();
    let wanted = Wanted { version: &other, build_file: BUILD_FILE, installers: true };
    let fault = collect(&wanted, folder.path()).unwrap_err();
    assert!(fault.hint.unwrap().contains("files of 1.2"));
    assert!(collect(&wanted, Path::new("/nowhere")).unwrap_err().message.contains("there is no folder"));
}

#[test]
fn a_version_is_one_that_files_can_be_named_after() {
    for version in ["7.2.4", "7.3rc0", "7.2", "7.2.post1"] {
        assert_eq!(ReleaseVersion::parse(version).unwrap().as_str(), version);
    }
    for (text, told) in [
        ("7.2-rc1", "`7.2rc1`"),
        ("tip", "tip"),
        ("7.2.4+5", "no tag"),
        ("v7.2.4", "`7.2.4`"),
        ("", "version"),
        ("7.3.dev1", "no tag"),
    ] {
        let fault = ReleaseVersion::parse(text).unwrap_err();
        assert!(fault.message.contains(told), "{text}: {fault:?}");
    }
}

#[tokio::test]
async fn the_source_is_that_of_the_tag_or_what_lies_in_the_folder() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("source");
    std::fs::create_dir_all(root.join("tests")).unwrap();
    std::fs::write(root.join("tests/run-tests.py"), "").unwrap();
    let find = async |at: &Path| source::find(None, at, &version()).await;
    assert!(find(place.path()).await.unwrap_err().message.contains("is not in a source of Mercurial"));
    assert!(find(&root).await.unwrap_err().message.contains("is not in a source of Mercurial"));
    std::fs::write(root.join("pyproject.toml"), BUILD_FILE).unwrap();
    let found = find(&root.join("tests")).await.unwrap();
    assert_eq!(found.build_file, BUILD_FILE);
    assert!(found.words.contains("it has no tag 1.2"), "{}", found.words);
    std::fs::write(root.join("PKG-INFO"), "Name: mercurial\nVersion: 1.2\n").unwrap();
    assert!(find(&root).await.unwrap().words.starts_with("the release in"));
    std::fs::write(root.join("PKG-INFO"), "Name: mercurial\nVersion: 1.1\n").unwrap();
    assert!(find(&root).await.unwrap_err().message.contains("is version 1.1, not 1.2"));
    std::fs::remove_file(root.join("PKG-INFO")).unwrap();

    for (program, init) in [
        ("hg", "hg init && hg commit -u t --addremove -q -m one && hg tag -u t 1.2"),
        ("git", "git init -q && git add . && git -c user.name=t -c user.email=t@t commit -qm one && git tag 1.2"),
    ] {
        let mut make = tokio::process::Command::new("sh");
        make.args(["-ec", init]).current_dir(&root).env("HGPLAIN", "1");
        assert!(make.status().await.unwrap().success());
        std::fs::write(root.join("pyproject.toml"), "[project]\nname = 'mercurial'\n").unwrap();
        let found = find(&root).await.unwrap();
        assert_eq!(found.build_file, BUILD_FILE, "{program}");
        assert!(found.words.starts_with("tag 1.2"), "{}", found.words);
        let other = ReleaseVersion::parse("1.3").unwrap();
        let found = source::find(Some(&root), Path::new("/"), &other).await.unwrap();
        assert!(found.words.contains("it has no tag 1.3"), "{}", found.words);
        std::fs::write(root.join("pyproject.toml"), BUILD_FILE).unwrap();
        std::fs::rename(root.join(format!(".{program}")), place.path().join(program)).unwrap();
    }
    std::fs::write(root.join("pyproject.toml"), "[project]\nname = 'other'\n").unwrap();
    assert!(find(&root).await.unwrap_err().message.contains("is not in a source of Mercurial"));
}
