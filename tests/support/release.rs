//! Releases that are made up: files that are what their names say, and hold little of use.

use std::io::Write;
use std::path::Path;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// What a source with six wheels says.
pub const BUILD_FILE: &str = "[project]\nname = 'mercurial'\nrequires-python = '>=3.9'\n[tool.cibuildwheel]\n\
                          build = 'cp313-* cp314-*'\nwindows.archs = 'all'\n";

/// Bytes that do not get smaller.
pub fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..size.div_ceil(8)).flat_map(|_| next()).collect()
}

/// A wheel for `tag` that has about `size` bytes.
pub fn wheel(version: &str, tag: &str, size: usize) -> Vec<u8> {
    let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut add = |path: &str, bytes: &[u8]| {
        archive.start_file(path, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    };
    add("mercurial/x.pyd", &noise(size, tag.bytes().map(u64::from).sum()));
    let about = format!("Metadata-Version: 2.1\nName: mercurial\nVersion: {version}\nSummary: made up\n\nText.\n");
    add(&format!("mercurial-{version}.dist-info/METADATA"), about.as_bytes());
    add(&format!("mercurial-{version}.dist-info/WHEEL"), format!("Wheel-Version: 1.0\nTag: {tag}\n").as_bytes());
    archive.finish().unwrap().into_inner()
}

/// Makes the files of a version: wheels for three platforms of each interpreter, and the installers.
pub fn make_release(dist: &Path, version: &str, interpreters: &[&str], size: usize) {
    std::fs::create_dir_all(dist).unwrap();
    for interpreter in interpreters {
        for platform in ["win32", "win_amd64", "win_arm64"] {
            let tag = format!("{interpreter}-{interpreter}-{platform}");
            std::fs::write(dist.join(format!("mercurial-{version}-{tag}.whl")), wheel(version, &tag, size)).unwrap();
        }
    }
    for (at, arch) in ["x86", "x64"].iter().enumerate() {
        let exe = [b"MZ".to_vec(), noise(size, 77 + at as u64)].concat();
        std::fs::write(dist.join(format!("Mercurial-{version}-{arch}.exe")), exe).unwrap();
        let msi = [vec![0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1], noise(size, 99 + at as u64)].concat();
        std::fs::write(dist.join(format!("mercurial-{version}-{arch}.msi")), msi).unwrap();
    }
}
