//! What `images/windows-dev` makes of an installed Python for installers to carry, by Pythons for Windows.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command as Local;

use model::exit::Exit;
use model::task::Command;
use support::commands::{LIMIT, run, try_connect};
use support::wine::{PYTHONS, Wine};

use super::text;

fn python3(words: &[&str]) -> String {
    let done = Local::new("python3").args(words).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

fn names(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn listed(archive: &Path) -> BTreeSet<String> {
    let program = "import sys, zipfile; print('\\n'.join(zipfile.ZipFile(sys.argv[1]).namelist()))";
    let told = python3(&["-c", program, archive.to_str().unwrap()]);
    // Theirs has a file that says what the folder of packages is for.
    told.lines().filter(|line| !line.ends_with('/') && !line.starts_with("site-packages/")).map(str::to_owned).collect()
}

/// Lays a Python that is embeddable out as its makers' installer does, with things beside it that are not for installers to carry.
fn install(theirs: &Path, home: &Path, short: &str) {
    std::fs::create_dir_all(home.join("DLLs")).unwrap();
    for name in names(theirs) {
        let library = name.ends_with(".pyd") || name.starts_with("lib") || name.starts_with("sqlite");
        let place = if library { home.join("DLLs") } else { home.to_owned() };
        std::fs::copy(theirs.join(&name), place.join(&name)).unwrap();
    }
    let archive = home.join(format!("python{short}.zip"));
    python3(&["-m", "zipfile", "-e", archive.to_str().unwrap(), home.join("Lib").to_str().unwrap()]);
    std::fs::remove_file(archive).unwrap();
    std::fs::remove_file(home.join(format!("python{short}._pth"))).unwrap();
    for noise in
        ["test/test_os.py", "site-packages/six.py", "json/__pycache__/a.pyc", "ensurepip/__init__.py", "turtle.py"]
    {
        let path = home.join("Lib").join(noise);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "this does not compile").unwrap();
    }
    std::fs::write(home.join("DLLs/_tkinter.pyd"), "").unwrap();
    std::fs::write(home.join("Lib/seven.py"), "def seven():\n    return 7\n").unwrap();
}

#[tokio::test]
async fn an_embeddable_python_has_what_its_makers_put_into_theirs() {
    for version in PYTHONS {
        let Some(wine) = Wine::start(version, true) else { return };
        let (folder, path) = wine.folder();
        let short = version.replace('.', "");
        let theirs = wine.place(&support::wine::folder(version));
        install(&theirs, &folder.path().join("installed"), &short);
        std::fs::copy(support::root().join("images/windows-dev/embed.py"), folder.path().join("embed.py")).unwrap();
        let connection = try_connect(&wine.machine(), LIMIT, false).await.unwrap();
        for made in ["one", "two"] {
            let words = ["-I".to_owned(), "-S".to_owned(), format!("{path}/embed.py"), format!("{path}/{made}")];
            let got = run(&*connection, &Command::new(format!("{path}/installed/python.exe")).args(words)).await;
            assert_eq!((got.exit, text(got.stderr).as_str()), (Exit::Code(0), ""), "{version}");
        }
        assert_eq!(
            names(folder.path()),
            ["embed.py", "installed", "one", "two"].map(str::to_owned).into(),
            "{version}"
        );
        let made = folder.path().join("one");
        let mut wanted = names(&theirs);
        // The catalogue of their signatures is of their files.
        wanted.remove("python.cat");
        assert_eq!(names(&made), wanted, "{version}");
        let archive = format!("python{short}.zip");
        let mut wanted = listed(&theirs.join(&archive));
        wanted.insert("seven.pyc".to_owned());
        let found = listed(&made.join(&archive));
        let other: Vec<_> = found.symmetric_difference(&wanted).collect();
        assert!(found.len() > 100 && other.is_empty(), "{version}: {other:?}");
        let read = |made: &str| std::fs::read(folder.path().join(made).join(&archive)).unwrap();
        assert!(read("one") == read("two"), "{version}: two runs make other files");
        // It works at another place, without what it was made of, and looks at nothing else.
        std::fs::rename(&made, folder.path().join("moved")).unwrap();
        std::fs::remove_dir_all(folder.path().join("installed")).unwrap();
        let program = "import bz2, ctypes, hashlib, lzma, platform, socket, ssl, sqlite3, zlib, seven, sys; print(seven.seven(), *sys.path)";
        let got = run(&*connection, &Command::new(format!("{path}/moved/python.exe")).args(["-c", program])).await;
        let place = format!("{path}/moved").replace('/', "\\");
        assert_eq!(
            text(got.stdout).trim_end(),
            format!("7 {place}\\{archive} {place}"),
            "{version}: {}",
            text(got.stderr)
        );
    }
}
