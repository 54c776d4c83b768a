//! Prices of machines.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Hours in a month, for conversion of monthly prices to hourly ones: the number that AWS's own calculator uses.
pub const HOURS_A_MONTH: f64 = 730.0;

/// The shortest time that is billed: EC2 bills Linux machines, their volumes and addresses by the second, for at least
/// a minute.
pub const SHORTEST_BILLED: Duration = Duration::from_secs(60);

/// The price of one machine, without taxes, traffic and discounts of the account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quote {
    /// The currency of the figures, for example `USD`.
    pub currency: String,
    /// The price of the computer itself per hour.
    pub compute_per_hour: f64,
    /// The price of all its volumes together per hour.
    pub volumes_per_hour: f64,
    /// The price of its public address per hour; zero where it has none.
    pub address_per_hour: f64,
    /// The priced thing, for example `c5.9xlarge on demand in us-west-2`.
    pub basis: String,
}

impl Quote {
    /// The price of all parts together per hour.
    pub fn per_hour(&self) -> f64 {
        self.compute_per_hour + self.volumes_per_hour + self.address_per_hour
    }

    /// The cost of a machine that lives for `duration`: billed by the second, for at least [`SHORTEST_BILLED`].
    pub fn cost(&self, duration: Duration) -> f64 {
        self.per_hour() * duration.max(SHORTEST_BILLED).as_secs_f64() / 3600.0
    }

    /// The cost as text for people: `3.0744 USD`.
    pub fn cost_text(&self, duration: Duration) -> String {
        format!("{} {}", amount(self.cost(duration)), self.currency)
    }

    /// One line for people, for example ``1.5372 USD an hour (c5.9xlarge on demand in us-west-2: compute 1.5300,
    /// volumes 0.0022, address 0.0050)``.
    pub fn text(&self) -> String {
        format!(
            "{} {} an hour ({}: compute {}, volumes {}, address {})",
            amount(self.per_hour()),
            self.currency,
            self.basis,
            amount(self.compute_per_hour),
            amount(self.volumes_per_hour),
            amount(self.address_per_hour)
        )
    }
}

/// The most that a machine may cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// The limit on the cost until its expiry, in the currency of its price.
    pub most: f64,
    /// Whether the machine may be made where its price is not known.
    pub unknown_ok: bool,
}

/// An amount of money with four decimals: a volume costs less than a cent an hour.
pub fn amount(value: f64) -> String {
    format!("{value:.4}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote() -> Quote {
        Quote {
            currency: "USD".into(),
            compute_per_hour: 1.53,
            volumes_per_hour: 20.0 * 0.08 / HOURS_A_MONTH,
            address_per_hour: 0.005,
            basis: "c5.9xlarge on demand in us-west-2".into(),
        }
    }

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn billing_is_by_the_second_and_a_minute_at_least() {
        let quote = quote();
        let hour = quote.per_hour();
        assert!(close(quote.cost(Duration::from_secs(3600)), hour));
        assert!(close(quote.cost(Duration::from_secs(90)), hour * 90.0 / 3600.0));
        assert!(close(quote.cost(Duration::from_secs(1)), hour / 60.0), "{}", quote.cost(Duration::from_secs(1)));
        assert!(close(quote.cost(Duration::ZERO), hour / 60.0));
    }

    #[test]
    fn the_line_names_the_whole_and_its_parts() {
        assert_eq!(
            quote().text(),
            "1.5372 USD an hour (c5.9xlarge on demand in us-west-2: compute 1.5300, volumes 0.0022, address 0.0050)"
        );
    }
}
