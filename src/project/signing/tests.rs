use super::*;

#[test]
fn a_command_gets_the_file_where_it_asks_for_it() {
    let path = Path::new("/d/a.exe");
    let words = |text: &str| SignCommand::parse(text).unwrap().words(path);
    assert_eq!(words("true -k 'a b'"), (vec!["-k".into(), "a b".into(), "/d/a.exe".into()], None));
    assert_eq!(words("true {in} -q"), (vec!["/d/a.exe".into(), "-q".into()], None));
    let (args, out) = words("true -in {in} -out {out}");
    assert_eq!((args[3].as_str(), out), ("/d/a.signed", Some(PathBuf::from("/d/a.signed"))));
    for (text, told) in [("", "no program"), ("true 'x", "does not end"), ("true {out}", "without `{in}`")] {
        assert!(SignCommand::parse(text).unwrap_err().contains(told), "{text}");
    }
}

/// A small program of 32 bits that does nothing, as far as its headers go, with this at its end.
fn program(signature: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x40;
    bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
    let optional = 0x40 + 24;
    bytes[optional..optional + 2].copy_from_slice(&0x10b_u16.to_le_bytes());
    if !signature.is_empty() {
        let entry = optional + 96 + 32;
        bytes[entry..entry + 4].copy_from_slice(&512_u32.to_le_bytes());
        bytes[entry + 4..entry + 8].copy_from_slice(&u32::try_from(8 + signature.len()).unwrap().to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(signature);
    }
    bytes
}

#[test]
fn a_signature_of_other_bytes_is_none() {
    let bare = pe::read(&program(&[])).unwrap();
    assert!(bare.bytes.is_empty());
    let signed = pe::read(&program(&bare.wanted)).unwrap();
    assert_eq!((signed.wanted, signed.bytes), (bare.wanted, bare.wanted.to_vec()), "neither is part of the sum");
    let mut changed = program(&bare.wanted);
    changed[400] = 1;
    let changed = pe::read(&changed).unwrap();
    assert_ne!(changed.wanted, bare.wanted);
    // A check sum is written after the signature.
    let mut summed = program(&bare.wanted);
    summed[0x40 + 24 + 64] = 9;
    assert_eq!(pe::read(&summed).unwrap().wanted, bare.wanted);
}

#[test]
fn what_is_cut_short_or_something_else_is_an_error_and_no_panic() {
    let whole = program(&[1; 40]);
    for length in 0..whole.len() {
        drop(pe::read(&whole[..length]));
        drop(msi::read(whole[..length].to_vec()));
    }
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        broken[at] = 0xff;
        drop(pe::read(&broken));
    }
    assert!(pe::read(b"MZ and no more").is_err());
    assert!(msi::read(b"nothing".to_vec()).is_err());
}

#[tokio::test]
async fn a_command_that_does_not_sign_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.exe");
    for (command, told) in [
        ("true", "it bears no Authenticode signature"),
        ("sh -c 'echo no key; exit 3'", "no key"),
        ("cp {in} {in}.copy {out}", "cannot sign a.exe"),
        ("true {in} {out}", "`{out}` was not written"),
    ] {
        std::fs::write(&path, program(&[])).unwrap();
        let fault = SignCommand::parse(command).unwrap().sign(&path).await.unwrap_err();
        assert!(fault.line().contains(told), "{command}: {}", fault.line());
    }
    let signed = program(&pe::read(&program(&[])).unwrap().wanted);
    let ready = folder.path().join("ready");
    std::fs::write(&ready, &signed).unwrap();
    let command = SignCommand::parse(&format!("cp {}", ready.display())).unwrap();
    std::fs::write(&path, program(&[])).unwrap();
    command.sign(&path).await.unwrap();
    // A file that is signed, and is another than was built.
    let mut other = program(&[]);
    other[400] = 1;
    std::fs::write(&path, other).unwrap();
    assert!(command.sign(&path).await.unwrap_err().line().contains("it is another file now"));
    std::fs::write(&path, &signed).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), signed);
    assert!(command.signs("a.msi") && !command.signs("a.whl"));
}
