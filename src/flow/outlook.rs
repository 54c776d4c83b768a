//! What an order would come to: looked at, with nothing made.

use model::fault::Fault;
use model::image::ImagePlan;
use model::price::Quote;
use serde::Serialize;

use crate::lease::foresee;
use crate::order::Order;
use crate::run::Run;
use crate::site::Site;

/// What a machine would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlook {
    /// The name of the provider that it would come from.
    pub provider: &'static str,
    /// The image that it would boot.
    pub image: String,
    /// How many layers of the image would be baked first, of how many.
    pub missing_layers: usize,
    /// See above.
    pub layers: usize,
    /// How long it would live at most, seconds.
    pub ttl: f64,
    /// Its price per hour, and until its end, where it costs something and that is known.
    pub per_hour: Option<f64>,
    /// See above.
    pub most: Option<f64>,
    /// The currency of both.
    pub currency: Option<String>,
}

/// Looks. Fails where such a machine would be refused before it is made.
pub async fn look(run: &Run, site: &Site, plan: Option<&ImagePlan>, order: &Order) -> Result<Outlook, Fault> {
    let request = order.request(run, run.now());
    foresee(run, site, &request).await?;
    let present = match plan {
        Some(plan) => site.images.store().await?.count_present(plan).await?,
        None => 0,
    };
    let quote = site.quote(&request, &run.teller).await;
    let layers = plan.map_or(0, |plan| plan.layers.len());
    Ok(Outlook {
        provider: site.provider.kind().name(),
        image: request.image,
        missing_layers: layers.saturating_sub(present),
        layers,
        ttl: order.ttl.as_secs_f64(),
        per_hour: quote.as_ref().map(Quote::per_hour),
        most: quote.as_ref().map(|quote| quote.cost(order.ttl)),
        currency: quote.map(|quote| quote.currency),
    })
}
