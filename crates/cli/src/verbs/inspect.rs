//! `lissom inspect`.

use lissom_job::JobError;
use lissom_job::inspect::{Inspection, inspect as run_job};
use lissom_recipe::ExitCode;

use super::Context;
use crate::arguments::Inspect;
use crate::show::{bytes, count, percent, table};

/// Runs the verb.
pub(crate) fn inspect(arguments: &Inspect, context: &Context) -> Result<ExitCode, JobError> {
    let inspection = run_job(&arguments.model, arguments.length, &context.read_options())?;
    context.print(&inspection, |inspection| text(inspection, arguments.graph))?;
    Ok(ExitCode::Done)
}

fn text(inspection: &Inspection, with_graph: bool) -> String {
    let cost = &inspection.cost;
    let opsets: Vec<String> = inspection
        .opsets
        .iter()
        .map(|(domain, version)| if domain.is_empty() { version.to_string() } else { format!("{domain} {version}") })
        .collect();
    let mut text = format!(
        "{}  {}, by {}, opset {}\n\n",
        inspection.path,
        bytes(inspection.size_bytes),
        if inspection.producer.is_empty() { "unknown" } else { &inspection.producer },
        opsets.join(", ")
    );
    for (kind, values) in [("input", &inspection.inputs), ("output", &inspection.outputs)] {
        for value in values {
            text += &format!("{kind:<8} {}: {}\n", value.name, value.fact);
        }
    }
    let zeros = cost.parameters - cost.non_zeros;
    text += &format!(
        "\nparameters  {} ({} zero), {:.2} bits each\n",
        count(cost.parameters),
        percent(zeros as f64 / cost.parameters.max(1) as f64),
        cost.weight_bits as f64 / cost.parameters.max(1) as f64
    );
    text += &match (cost.macs, cost.effective_macs) {
        (Some(macs), Some(effective)) => format!("MACs        {} ({} non-zero)\n", count(macs), count(effective)),
        _ => "MACs        not known: shapes depend on values\n".to_owned(),
    };
    let operators: Vec<String> = inspection.operators.iter().map(|(name, n)| format!("{name} {n}")).collect();
    text += &format!("operators   {}\n", operators.join(", "));
    for (node, op, reason) in &inspection.unsupported {
        text += &format!("not supported: node {node} ({op}): {reason}\n");
    }
    let rows: Vec<Vec<String>> = cost
        .layers
        .iter()
        .map(|layer| {
            vec![
                layer.name.clone(),
                layer.operator.clone(),
                format!("{:?}", layer.shape),
                layer.encoding.clone(),
                percent(layer.zeros as f64 / layer.len.max(1) as f64),
                bytes(layer.bits.div_ceil(8)),
                layer.macs.map_or("–".to_owned(), count),
            ]
        })
        .collect();
    if !rows.is_empty() {
        text += "\n";
        text += &table(&["layer", "operator", "weight", "encoding", "zero", "size", "MACs"], &rows);
    }
    for warning in &inspection.warnings {
        text += &format!("warning: {warning}\n");
    }
    if with_graph { text + "\n" + &inspection.graph } else { text }
}
