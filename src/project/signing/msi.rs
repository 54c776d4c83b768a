//! The signature of an MSI, which is a compound file. The sum is of all its streams but those of the signature, in the order of
//! their names' bytes, each storage ending with its class; where a stream of metadata was signed with it, that comes first.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use cfb::CompoundFile;
use sha2::{Digest, Sha256};

use super::Signature;

/// The stream with the signature.
const SIGNATURE: &str = "\u{5}DigitalSignature";

/// The stream with the sum of the metadata.
const METADATA: &str = "\u{5}MsiDigitalSignatureEx";

type File = CompoundFile<Cursor<Vec<u8>>>;

fn stream(file: &mut File, path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut stream = file.open_stream(path).map_err(|error| error.to_string())?;
    stream.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// A name as the file has it, for the order.
fn name_bytes(name: &str) -> Vec<u8> {
    name.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn add(file: &mut File, storage: &Path, take: &mut dyn FnMut(&[u8])) -> Result<(), String> {
    let entries = file.read_storage(storage).map_err(|error| error.to_string())?;
    let mut entries: Vec<(Vec<u8>, PathBuf, bool)> = entries
        .filter(|entry| ![SIGNATURE, METADATA].contains(&entry.name()))
        .map(|entry| (name_bytes(entry.name()), entry.path().to_owned(), entry.is_storage()))
        .collect();
    entries.sort();
    for (_, path, is_storage) in entries {
        if is_storage {
            add(file, &path, take)?;
        } else {
            take(&stream(file, &path)?);
        }
    }
    let class = *file.entry(storage).map_err(|error| error.to_string())?.clsid();
    take(&class.to_bytes_le());
    Ok(())
}

/// Reads the signature.
pub(super) fn read(bytes: Vec<u8>) -> Result<Signature, String> {
    let mut file = CompoundFile::open(Cursor::new(bytes)).map_err(|error| format!("it is no MSI: {error}"))?;
    let (root, mut sum, mut content) = (Path::new("/"), Sha256::new(), Sha256::new());
    if file.is_stream(root.join(METADATA)) {
        sum.update(stream(&mut file, &root.join(METADATA))?);
    }
    add(&mut file, root, &mut |bytes| {
        sum.update(bytes);
        content.update(bytes);
    })?;
    let place = root.join(SIGNATURE);
    let signature = if file.is_stream(&place) { stream(&mut file, &place)? } else { Vec::new() };
    Ok(Signature { wanted: sum.finalize().into(), content: content.finalize().into(), bytes: signature })
}
