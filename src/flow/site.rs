//! A site: one provider with all that is needed to work on it.

use std::sync::Arc;
use std::time::Duration;

use crate::model::connection::Connector;
use crate::model::provider::{ImageStore, Provider};

/// One provider, how its machines are reached, and what they boot from. Clones are the same site.
#[derive(Clone)]
pub struct Site {
    /// Makes machines.
    pub provider: Arc<dyn Provider>,
    /// Reaches them.
    pub connector: Arc<dyn Connector>,
    /// Keeps what they boot from.
    pub images: Arc<dyn ImageStore>,
    /// How long a machine lives without a sign of its driver.
    pub grace: Duration,
}
