//! The history that travels with the files of a command.

use std::path::Path;
use std::sync::Arc;

use ::project::history::{History, PackedHistory};
use flow::lease::until_stopped;
use model::base::removal;
use model::fault::Fault;
use model::work::Work;

use crate::command::session::Session;

/// The folder in that of the run where it is packed.
const FOLDER: &str = "history";

/// Packs the history of `top` in the run's folder, in place of an earlier one.
pub(super) async fn pack(session: &Session, top: &Path, history: &History) -> Result<Arc<PackedHistory>, Fault> {
    for remark in &history.remarks {
        session.context.screen.message(&format!("warning: {remark}"));
    }
    remove(session)?;
    let step = session.run.teller.begin(Work::PackingHistory { of: top.display().to_string() });
    let packed = until_stopped(&session.run, history.pack(&session.dir.path().join(FOLDER))).await?;
    step.finish();
    Ok(Arc::new(packed))
}

/// Removes what was packed, once it has been sent.
pub(super) fn remove(session: &Session) -> Result<(), Fault> {
    let folder = session.dir.path().join(FOLDER);
    let failed = |error| Fault::outside(format!("cannot remove `{}`", folder.display())).because(error);
    if folder.is_dir() { removal::remove_tree(&folder).map_err(failed) } else { Ok(()) }
}
