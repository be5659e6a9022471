//! An evaluation as text: means, languages, scripts and families, tests of fairness.

use super::table::{plain, thousands};
use crate::corpus::language;
use crate::evaluate::{Evaluation, Fairness, Grouping, LanguageBias, Setting, group_means};
use crate::report::probability;
use crate::train::Score;

/// Settings by metrics.
pub fn score_table(scores: &[Score]) -> String {
    let mut metrics: Vec<&str> = Vec::new();
    let mut settings: Vec<&str> = Vec::new();
    for score in scores {
        if !metrics.contains(&score.metric.as_str()) {
            metrics.push(&score.metric);
        }
        if !settings.contains(&score.setting.as_str()) {
            settings.push(&score.setting);
        }
    }
    let rows: Vec<Vec<String>> = metrics
        .iter()
        .map(|metric| {
            let values = settings.iter().map(|setting| {
                let score = scores.iter().find(|s| s.setting == *setting && s.metric == *metric);
                score.map_or(String::new(), |s| format!("{:.4}", s.value))
            });
            std::iter::once((*metric).to_owned()).chain(values).collect()
        })
        .collect();
    let headings: Vec<&str> = std::iter::once("metric").chain(settings.iter().copied()).collect();
    plain(&headings, &rows)
}

fn number(value: Option<f64>) -> String {
    value.filter(|v| v.is_finite()).map_or(String::new(), |v| format!("{v:.4}"))
}

fn places(value: f64, places: usize) -> String {
    if value.is_finite() { format!("{value:.places$}") } else { String::new() }
}

/// Everything that was measured, in the order of a reader's questions: how well, for whom, how fair.
pub fn page(evaluation: &Evaluation) -> String {
    let mut counts = Vec::new();
    for setting in Setting::ALL {
        let own = || evaluation.cells.iter().filter(|c| c.setting == setting && c.metric == "map");
        let n: usize = own().map(|c| c.n).sum();
        if n > 0 {
            let (cells, n) = (own().count(), thousands(n));
            counts.push(format!("{} {cells} cells, n {n}", setting.name()));
        }
    }
    let mut text = format!(
        "macro means (protocol {}); {}\n{}\n",
        evaluation.protocol.id(),
        counts.join("; "),
        score_table(&evaluation.summary())
    );
    let micro: Vec<_> = evaluation.micro().into_iter().filter(|s| s.metric == "map").collect();
    text += &format!("\nmicro means\n{}\n", score_table(&micro));
    text +=
        &format!("\nlanguages: map, and language bias in the multilingual pool\n{}\n", languages(evaluation));
    for grouping in [Grouping::Script, Grouping::Family] {
        text += &format!("\nby {}: macro means of map\n{}\n", grouping.name(), groups(evaluation, grouping));
    }
    text += &format!("\n{}", fairness(&evaluation.fairness));
    text
}

fn languages(evaluation: &Evaluation) -> String {
    let headings = [
        "language",
        "n",
        "mono",
        "as question",
        "as passage",
        "multi",
        "strict",
        "rank dist",
        "median",
        "excess",
        "of pool",
        "wrong own",
        "pref",
        "top 10",
        "pool",
    ];
    let rows: Vec<Vec<String>> = (0..evaluation.languages.len())
        .map(|l| {
            let cell = |setting, passage| evaluation.cell(setting, "map", l, passage);
            let cross = |own: &dyn Fn(&crate::evaluate::Cell) -> bool| {
                let cells = || {
                    let all =
                        evaluation.cells.iter().filter(|c| c.setting == Setting::Cross && c.metric == "map");
                    all.filter(|c| own(c)).map(|c| c.value)
                };
                cells().sum::<f64>() / cells().count() as f64
            };
            let unmeasured = LanguageBias::unmeasured(l);
            let bias = evaluation.bias.iter().find(|b| b.language == l).unwrap_or(&unmeasured);
            vec![
                evaluation.languages[l].clone(),
                cell(Setting::Multi, None).map_or(String::new(), |c| c.n.to_string()),
                number(cell(Setting::Mono, Some(l)).map(|c| c.value)),
                number(Some(cross(&|c| c.query_language == l))),
                number(Some(cross(&|c| c.passage_language == Some(l)))),
                number(cell(Setting::Multi, None).map(|c| c.value)),
                number(cell(Setting::Strict, None).map(|c| c.value)),
                places(bias.rank_distance, 1),
                places(bias.rank_distance_median, 1),
                places(bias.rank_distance_excess, 1),
                places(bias.rank_distance_share, 4),
                places(bias.wrong_top1_own, 3),
                places(bias.own_preference, 2),
                places(bias.top10_share, 3),
                places(bias.pool_share, 3),
            ]
        })
        .collect();
    plain(&headings, &rows)
}

/// A row a group: its languages, then its pools; `within` and `to others` are cross-lingual pairs.
fn groups(evaluation: &Evaluation, grouping: Grouping) -> String {
    let means = group_means(evaluation, grouping);
    let mut names: Vec<&str> = evaluation.languages.iter().map(|code| grouping.of(code)).collect();
    names.sort_unstable();
    names.dedup();
    let rows: Vec<Vec<String>> = names
        .into_iter()
        .map(|name| {
            let members: Vec<&str> =
                evaluation.languages.iter().map(String::as_str).filter(|c| grouping.of(c) == name).collect();
            let pick = |setting: Setting, metric: &str, passage: &dyn Fn(&str) -> bool| {
                let own: Vec<_> = means
                    .iter()
                    .filter(|m| m.setting == setting && m.metric == metric && m.query_group == name)
                    .filter(|m| passage(m.passage_group))
                    .collect();
                let cells: usize = own.iter().map(|m| m.cells).sum();
                let sum: f64 = own.iter().map(|m| m.macro_mean * m.cells as f64).sum();
                (cells > 0).then(|| sum / cells as f64)
            };
            let n: usize = means
                .iter()
                .filter(|m| m.setting == Setting::Multi && m.metric == "map" && m.query_group == name)
                .map(|m| m.n)
                .sum();
            vec![
                name.to_owned(),
                members.join(" "),
                n.to_string(),
                number(pick(Setting::Mono, "map", &|_| true)),
                number(pick(Setting::Cross, "map", &|passage| passage == name)),
                number(pick(Setting::Cross, "map", &|passage| passage != name)),
                number(pick(Setting::Multi, "map", &|_| true)),
                number(pick(Setting::Strict, "map", &|_| true)),
                pick(Setting::Multi, "rank_distance", &|_| true).map_or(String::new(), |v| places(v, 1)),
            ]
        })
        .collect();
    let headings =
        [grouping.name(), "languages", "n", "mono", "within", "to others", "multi", "strict", "rank dist"];
    plain(&headings, &rows)
}

/// Strata, Friedman and PEER, a line each.
pub fn fairness(found: &Fairness) -> String {
    let mut lines = Vec::new();
    for s in &found.strata {
        lines.push(format!(
            "rank distance with {} answers: n {}, mean {:.1}, median {:.1}, above the least {:.1}, of the pool {:.4}",
            s.relevant,
            thousands(s.questions),
            s.mean,
            s.median,
            s.excess,
            s.share
        ));
    }
    for test in &found.friedman {
        let scope = test
            .query_language
            .as_ref()
            .map_or("question ids".to_owned(), |code| format!("questions in {}", language::english(code)));
        lines.push(match (&test.undefined, test.chi_square, test.p, test.kendall_w) {
            (None, Some(chi), Some(p), Some(w)) => format!(
                "Friedman over {} {scope} x {} languages: chi2 {chi:.1}, p {}, Kendall's W {w:.4}",
                thousands(test.blocks),
                test.treatments,
                probability(p)
            ),
            (reason, ..) => format!("Friedman over {scope}: undefined: {}", reason.as_deref().unwrap_or("")),
        });
    }
    for peer in &found.peer {
        let cut = peer.cutoff.map_or("full ranking".to_owned(), |k| format!("first {k}"));
        lines.push(match (peer.value, &peer.undefined) {
            (Some(value), _) => {
                format!("{} ({cut}): {value:.4}, n {}", peer.name, thousands(peer.questions))
            }
            (None, reason) => {
                format!("{} ({cut}): undefined: {}", peer.name, reason.as_deref().unwrap_or(""))
            }
        });
    }
    lines.join("\n")
}
