//! Tables of language bias: means by script and family, languages of the first passages, tests of fairness.

use anyhow::Result;
use polars::prelude::DataFrame;

use super::Source;
use super::frames::{origin, with_origin};
use super::grid::Kind::{Real, Text, Whole};
use super::grid::Value;
use crate::evaluate::{Grouping, group_means, read};

/// A row a grouping, setting, metric and pair of groups.
pub fn groups(source: &Source) -> Result<DataFrame> {
    let mut grid = with_origin(&[
        ("grouping", Text),
        ("setting", Text),
        ("metric", Text),
        ("query_group", Text),
        ("passage_group", Text),
        ("cells", Whole),
        ("n", Whole),
        ("macro", Real),
        ("micro", Real),
    ]);
    for measured in source.measured()? {
        let evaluation = read(&measured.dir)?;
        for grouping in [Grouping::Script, Grouping::Family] {
            for mean in group_means(&evaluation, grouping) {
                let mut row = origin(source, measured, &evaluation);
                row.extend([
                    grouping.name().into(),
                    mean.setting.name().into(),
                    mean.metric.into(),
                    mean.query_group.into(),
                    mean.passage_group.into(),
                    mean.cells.into(),
                    mean.n.into(),
                    mean.macro_mean.into(),
                    mean.micro_mean.into(),
                ]);
                grid.push(row);
            }
        }
    }
    grid.frame()
}

/// A row a length, question language and passage language, with what the pool alone would give.
pub fn histogram(source: &Source) -> Result<DataFrame> {
    let mut grid = with_origin(&[
        ("k", Whole),
        ("query_language", Text),
        ("passage_language", Text),
        ("count", Whole),
        ("share", Real),
        ("pool_share", Real),
    ]);
    for measured in source.measured()? {
        let evaluation = read(&measured.dir)?;
        let code = |language: usize| evaluation.languages[language].as_str();
        for part in &evaluation.histogram {
            let prior = evaluation.bias.iter().find(|b| b.language == part.passage_language);
            let mut row = origin(source, measured, &evaluation);
            row.extend([
                part.k.into(),
                code(part.query_language).into(),
                code(part.passage_language).into(),
                part.count.into(),
                part.share.into(),
                prior.map(|b| b.pool_share).into(),
            ]);
            grid.push(row);
        }
    }
    grid.frame()
}

/// A row a measure and scope. `undefined` says why there is no value.
pub fn tests(source: &Source) -> Result<DataFrame> {
    let mut grid = with_origin(&[
        ("measure", Text),
        ("query_language", Text),
        ("relevant", Whole),
        ("cutoff", Whole),
        ("n", Whole),
        ("value", Real),
        ("p", Real),
        ("kendall_w", Real),
        ("median", Real),
        ("excess", Real),
        ("share", Real),
        ("undefined", Text),
    ]);
    for measured in source.measured()? {
        let evaluation = read(&measured.dir)?;
        let fairness = &evaluation.fairness;
        let begin = || origin(source, measured, &evaluation);
        for stratum in &fairness.strata {
            let mut row = begin();
            row.extend(["rank_distance".into(), "*".into(), stratum.relevant.into(), Value::Absent]);
            row.extend([stratum.questions.into(), stratum.mean.into(), Value::Absent, Value::Absent]);
            row.extend([stratum.median.into(), stratum.excess.into(), stratum.share.into()]);
            grid.push(row);
        }
        for test in &fairness.friedman {
            let mut row = begin();
            let scope = test.query_language.as_deref().unwrap_or("*");
            row.extend(["friedman".into(), scope.into(), Value::Absent, Value::Absent, test.blocks.into()]);
            row.extend([test.chi_square.into(), test.p.into(), test.kendall_w.into()]);
            row.extend([Value::Absent, Value::Absent, Value::Absent, test.undefined.clone().into()]);
            grid.push(row);
        }
        for peer in &fairness.peer {
            let mut row = begin();
            let cutoff = peer.cutoff.map(|k| k as usize);
            row.extend([peer.name.as_str().into(), "*".into(), Value::Absent, cutoff.into()]);
            row.extend([peer.questions.into(), peer.value.into()]);
            row.extend([const { Value::Absent }; 5]);
            row.push(peer.undefined.clone().into());
            grid.push(row);
        }
    }
    grid.frame()
}
