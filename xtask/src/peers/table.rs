//! The measurements as Markdown and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::measure::Row;
use crate::timing::{Measured, Quartiles, memory, milliseconds};

/// All rows, and what they were measured on.
pub(super) struct Document {
    pub(super) date: String,
    pub(super) cpu: String,
    pub(super) n_cores: usize,
    pub(super) lissom: String,
    pub(super) command: String,
    pub(super) threads: usize,
    pub(super) rounds: usize,
    pub(super) rows: Vec<Row>,
}

/// The table for people.
pub(super) fn markdown(document: &Document) -> String {
    let mut text = String::from("# lissom beside its peers\n\n");
    let Document { date, cpu, n_cores, lissom, command, threads, rounds, rows } = document;
    let engines: Vec<&str> = rows.first().into_iter().flat_map(|row| &row.peers).map(|p| p.engine.as_str()).collect();
    let _ = write!(
        text,
        "{date}, {cpu}, {n_cores} cores, {threads} threads. lissom {lissom}, {}. Made by `{command}`.\n\n\
         The networks have real shapes and random weights ([benches/peers](peers)). Engines take turns for {rounds} rounds; \
         times are medians in ms. *Faster* is the best peer's time over ours in the same round: median and quartiles of the \
         rounds. Peers run the dense file, for they gain nothing from zeros. *Differs*: the largest difference to ONNX \
         Runtime's answer on the same file, as a share of its largest value. Load is from the file to the first answer \
         (lissom's second figure: when it has loaded the file before), memory the peak above what the empty process takes.\n\n",
        engines.join(", "),
    );
    let names: Vec<&str> = engines.iter().map(|engine| without_version(engine)).collect();
    let columns = |what: &str| names.iter().map(|name| format!(" {name}{what} |")).collect::<String>();
    let _ = writeln!(
        text,
        "| network | form | type | batch | lissom |{} faster | goal | differs | load |{} memory |{}",
        columns(""),
        columns(" load"),
        columns(" memory")
    );
    let _ = writeln!(text, "{}", "|---".repeat(10 + 3 * names.len()) + "|");
    for row in rows {
        let _ = writeln!(text, "{}", line(row));
    }
    text
}

fn without_version(engine: &str) -> &str {
    engine.rsplit_once(' ').map_or(engine, |(name, _)| name)
}

fn line(row: &Row) -> String {
    let case = &row.case;
    let each =
        |cell: &dyn Fn(&Measured) -> String| row.peers.iter().map(|p| format!(" {} |", cell(p))).collect::<String>();
    let faster = row.best_peer().map_or(String::new(), |peer| {
        let Quartiles { low, median, high } = row.ratio(peer);
        let is_met = row.goal.is_some_and(|goal| median >= goal);
        let ratio = format!("{median:.2} [{low:.2}, {high:.2}]");
        if is_met { format!("**{ratio}**") } else { ratio }
    });
    format!(
        "| {} | {} | {} | {} | {} |{} {faster} | {} | {:.0e} | {:.0}, {:.0} |{} {} |{}",
        case.network,
        case.form,
        case.dtype,
        case.batch,
        milliseconds(row.lissom.ms),
        each(&|peer| milliseconds(peer.ms)),
        row.goal.map_or(String::new(), |goal| goal.to_string()),
        row.difference,
        row.lissom.load_ms,
        row.load_again_ms,
        each(&|peer| format!("{:.0}", peer.load_ms)),
        memory(&row.lissom),
        each(&memory),
    )
}

/// Every number, for programs.
pub(super) fn json(document: &Document) -> String {
    let Document { date, cpu, n_cores, lissom, command, threads, rounds, rows } = document;
    let value = json!({
        "date": date,
        "cpu": cpu,
        "n_cores": n_cores,
        "lissom": lissom,
        "command": command,
        "threads": threads,
        "rounds": rounds,
        "rows": rows.iter().map(row_json).collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

fn row_json(row: &Row) -> Value {
    let ratio = |peer: &Measured| {
        let Quartiles { low, median, high } = row.ratio(peer);
        json!({ "low": low, "median": median, "high": high })
    };
    let peers = row.peers.iter().map(|peer| {
        let mut value = engine_json(peer);
        value["faster"] = ratio(peer);
        value
    });
    let mut lissom = engine_json(&row.lissom);
    lissom["load_again_ms"] = json!(row.load_again_ms);
    json!({
        "network": row.case.network,
        "form": row.case.form,
        "type": row.case.dtype,
        "batch": row.case.batch,
        "lissom": lissom,
        "peers": peers.collect::<Vec<_>>(),
        "faster": row.best_peer().map(ratio),
        "goal": row.goal,
        "difference": row.difference,
    })
}

fn engine_json(measured: &Measured) -> Value {
    json!({
        "engine": measured.engine,
        "ms": measured.ms,
        "rounds_ms": measured.rounds_ms,
        "load_ms": measured.load_ms,
        "peak_bytes": measured.peak_bytes,
    })
}
