//! Budgets as contracts: what was asked, what was reached, by how much it was missed.

use lissom_evaluate::Comparison;
use lissom_recipe::Budget;
use lissom_report::{Budget as Contract, Goal, Unit};

/// What budgets are held against.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reached<'a> {
    /// Size of the original file.
    pub original_bytes: u64,
    /// Size of the written file.
    pub size_bytes: Option<u64>,
    /// Median time of one run.
    pub p50_ms: Option<f64>,
    /// Mean bits a parameter.
    pub bits: Option<f64>,
    /// What compressing changed on the evaluation data.
    pub comparison: Option<&'a Comparison>,
}

/// Every budget that was asked for, held against what was reached. What could not be measured is not met.
pub fn contracts(budget: &Budget, reached: &Reached<'_>) -> Vec<Contract> {
    let mut contracts = Vec::new();
    let mut at_most = |name: &str, target: f64, actual: Option<f64>, unit: Unit| {
        contracts.push(Contract::judge(name, Goal::AtMost, target, actual, unit));
    };
    if let Some(size) = budget.target_size {
        let limit = size.limit_bytes(reached.original_bytes) as f64;
        at_most("target-size", limit, reached.size_bytes.map(|bytes| bytes as f64), Unit::Bytes);
    }
    if let Some(latency) = budget.target_latency {
        at_most("target-latency", latency.ms, reached.p50_ms, Unit::Milliseconds);
    }
    if let Some(bits) = budget.target_bits {
        at_most("target-bits", bits, reached.bits, Unit::Bits);
    }
    if let Some(points) = budget.max_drop {
        let drop = reached.comparison.map(|comparison| comparison.headline().1.drop);
        at_most("max-drop", points / 100.0, drop, Unit::Points);
    }
    if let Some(points) = budget.max_class_drop {
        let drop = reached.comparison.and_then(Comparison::worst_class_drop);
        at_most("max-class-drop", points / 100.0, drop, Unit::Points);
    }
    contracts
}

/// Whether every contract holds; one that could not be measured does not.
pub fn all_met(contracts: &[Contract]) -> bool {
    contracts.iter().all(|contract| contract.is_met == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_met() {
        let budget = Budget { max_drop: Some(0.5), ..Budget::default() };
        let contracts = contracts(&budget, &Reached::default());
        assert_eq!(contracts.len(), 1);
        assert!(!all_met(&contracts));
    }

    #[test]
    fn a_size_that_is_reached_exactly_is_met() {
        let budget = Budget { target_size: Some("25%".parse().unwrap()), ..Budget::default() };
        let reached = Reached { original_bytes: 1000, size_bytes: Some(250), ..Reached::default() };
        assert!(all_met(&contracts(&budget, &reached)));
        let missed = contracts(&budget, &Reached { size_bytes: Some(251), ..reached });
        assert_eq!(missed[0].missed_by, Some(1.0));
    }
}
