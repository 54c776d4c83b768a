//! The first Ctrl-C asks to stop, the second leaves at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::command::error::exit;
use crate::model::fault::Fault;
use crate::ui;

/// Watches for SIGINT, SIGTERM and SIGHUP for the rest of the process: the first cancels `stop`, the second prints
/// `clean`, the command that cleans up, and ends the process.
pub fn watch(stop: CancellationToken, clean: String) -> Result<(), Fault> {
    let second = format!("Left at once. Machines of this run end by themselves; to remove everything now:\n  {clean}");
    watch_saying(stop, "releasing what was made", second)
}

/// The same; `doing` is what the first brings about and `second` what the second says.
pub fn watch_saying(stop: CancellationToken, doing: &'static str, second: String) -> Result<(), Fault> {
    let mut streams = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let stream = signal(kind).map_err(|e| Fault::outside("cannot listen for signals").because(e))?;
        streams.push(stream);
    }
    let [mut interrupt, mut terminate, mut hangup] =
        <[_; 3]>::try_from(streams).map_err(|_| Fault::outside("cannot listen for signals"))?;
    tokio::spawn(async move {
        for count in 1.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if count == 1 {
                stop.cancel();
                ui::complain(&format!("\nInterrupted: {doing}. Once more leaves at once."));
            } else {
                ui::complain(&second);
                crate::connection::interactive::restore_terminal();
                std::process::exit(exit::INTERRUPTED);
            }
        }
    });
    Ok(())
}
