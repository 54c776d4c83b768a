//! Watching for the notice that a machine is about to be taken back by whoever lends it.

use std::convert::Infallible;
use std::time::Duration;

use model::event::{MachineEvent, TroubleEvent};

use crate::run::Run;
use crate::task::durable::Durable;

/// The pause before watching again over another connection.
const PAUSE: Duration = Duration::from_secs(5);

/// Watches for as long as it is polled, over one connection after another; tells of a notice, and gives it to all work on the machine.
pub(super) async fn watch(run: &Run, durable: &Durable) -> Infallible {
    let (machine, provider) = (durable.machine(), &durable.site().provider);
    let Some(notices) = provider.abilities().notices.filter(|notices| notices.may_give(machine)) else {
        return std::future::pending().await;
    };
    // Where no connection can be made, the machine is gone.
    while let Ok(connection) = durable.direct().await {
        match notices.wait_for_notice(machine, connection.as_ref()).await {
            Ok(Some(notice)) => {
                run.teller
                    .machine(&machine.id, MachineEvent::TakenBack { why: notice.why.clone(), ends_at: notice.ends_at });
                durable.give_notice(notice);
                break;
            }
            Ok(None) => tokio::time::sleep(PAUSE).await,
            Err(fault) => {
                run.tell(TroubleEvent::from(&fault));
                break;
            }
        }
    }
    std::future::pending().await
}
