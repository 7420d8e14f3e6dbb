//! `ringlog config describe`.

use serde_json::{Value, json};

use super::resource::{Deed, Described, Resource, advice_on, described};
use crate::cli::kafka::Client;
use crate::cli::table::{Table, known, shown, words};
use crate::cli::told::{Failure, Told};

#[derive(Clone, Copy, Debug)]
pub(super) struct How<'a> {
    pub names: &'a [String],
    pub all: bool,
    pub doc: bool,
    pub as_json: bool,
}

pub(super) async fn run(client: &Client, resource: &Resource, how: How<'_>) -> Result<Told, Failure> {
    let names = Some(how.names).filter(|names| !names.is_empty());
    let mut configs = described(client, resource, names, how.doc || how.as_json).await?;
    // Some brokers take names for a wish only.
    configs.retain(|config| match names {
        Some(names) => names.contains(&config.name),
        None => how.all || !config.is_default(),
    });
    let missing = how.names.iter().filter(|name| !configs.iter().any(|config| config.name == **name));
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    let mut problems = Vec::new();
    for name in missing {
        let advice = advice_on(client, resource, std::iter::once(name), Deed::Describe).await;
        problems.push(match advice.trim_start_matches("; ") {
            "" => format!("{resource}: {name} is not set"),
            advice => format!("{resource}: {advice}"),
        });
    }
    let mut told = match how {
        How { as_json: true, .. } => Told::json(&to_json(resource, &configs)),
        _ if configs.is_empty() => Told::default(),
        How { doc: true, .. } => Told::text(with_documentation(&configs)),
        How { .. } => Told::text(to_text(&configs)),
    };
    if configs.is_empty() && problems.is_empty() && !how.as_json {
        told.notes.push(format!("{resource}: all configs are default; --all prints them"));
    }
    told.problems = problems;
    Ok(told)
}

fn to_text(configs: &[Described]) -> String {
    let columns = [words("NAME"), words("VALUE"), words("SOURCE"), words("DEFAULT"), words("READ-ONLY")];
    let rows = configs.iter().map(|config| {
        vec![
            config.name.clone(),
            known(Some(config.shown_value())),
            config.source().to_owned(),
            known(config.default.as_ref()),
            if config.is_read_only { "yes" } else { "no" }.to_owned(),
        ]
    });
    Table::new(columns, rows).text()
}

/// A paragraph each, as wide as it comes.
fn with_documentation(configs: &[Described]) -> String {
    let paragraphs = configs.iter().map(|config| {
        let read_only = if config.is_read_only { ", read-only" } else { "" };
        let default = config.default.as_ref().map_or(String::new(), |default| format!(", default {default}"));
        let documentation = config.documentation.as_deref().unwrap_or("(the broker does not say what it means)");
        format!(
            "{}={}\n  {}{default}{read_only}\n  {}\n",
            config.name,
            shown(config.shown_value()),
            config.source(),
            shown(documentation.trim())
        )
    });
    paragraphs.collect::<Vec<_>>().join("\n")
}

fn to_json(resource: &Resource, configs: &[Described]) -> Value {
    let configs = configs.iter().map(|config| {
        json!({
            "name": config.name,
            "value": config.value,
            "source": config.source(),
            "default": config.default,
            "is_default": config.is_default(),
            "is_read_only": config.is_read_only,
            "is_sensitive": config.is_sensitive,
            "documentation": config.documentation,
        })
    });
    json!({
        "resource_type": resource.kind_name(),
        "resource_name": resource.shown_name(),
        "configs": configs.collect::<Vec<_>>(),
    })
}
