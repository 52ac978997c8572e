//! `keys/NAME.toml`.

use std::sync::Arc;

use keyferry_plugin::contract::{Algorithm, OperationKind};
use keyferry_plugin::manifest::{Manifest, RegionRule};

use super::account::CheckedAccount;
use super::entry::{Checked, Entries};
use super::file::Text;
use super::problem::{listed, suggestion};
use super::table::{Item, Table, Walk, shown};
use super::{NAME_RULE, is_name};
use crate::desired::{GeneratedBy, KeySpec, OnDrift, OnRemove};

mod deploy;
mod hosts;
mod options;
mod rotate;

pub use deploy::check_fingerprint;

/// Checks a key file. It depends on the account that it names.
pub(super) fn check(name: &str, text: &Text, accounts: &Entries<CheckedAccount>) -> Checked<Arc<KeySpec>> {
    let mut walk = Walk::new(text);
    let mut uses = None;
    let parsed = walk.parse();
    let good = parsed.as_ref().and_then(|parsed| {
        let root = Table::root(parsed.get_ref());
        walk.refuse_others(&root, KNOWN);
        let named = match root.get("account") {
            Some(item) => walk.string(&item).map(|account| (item, account)),
            None if root.misspells("account") => None,
            None => {
                let known = suggestion("", accounts.keys().map(String::as_str));
                walk.note(
                    0,
                    format!("a key without `account` is not in this version: add `account = \"...\"`{known}"),
                );
                None
            }
        };
        uses = named.map(|(_, account)| account.to_owned());
        let account = named.and_then(|(item, account)| walk.account(&item, account, accounts));
        let (region, further_regions) = walk.regions(&root, account.map(|checked| &*checked.manifest));
        let generated_by = match root.get("generated_by") {
            Some(item) => walk.choice(
                &item,
                &[("keyferry", GeneratedBy::Keyferry), ("provider", GeneratedBy::Provider)],
            ),
            None => Some(GeneratedBy::Keyferry),
        };
        let choices = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
        let asked = root.get("algorithm");
        let chosen = asked.and_then(|item| walk.choice(&item, &choices).map(|algorithm| (item, algorithm)));
        let pair_name = root.get("name").and_then(|item| walk.string(&item).map(|name| (item, name)));
        let on_remove = match root.get("on_remove") {
            Some(item) => walk.choice(&item, &[("keep", OnRemove::Keep), ("retire", OnRemove::Retire)]),
            None => Some(OnRemove::default()),
        };
        let on_drift = match root.get("on_drift") {
            Some(item) => walk.choice(&item, &[("recreate", OnDrift::Recreate), ("report", OnDrift::Report)]),
            None => Some(OnDrift::default()),
        };
        let hosts = walk.hosts(&root);
        let rotate = walk.rotate(&root);
        let deploy = walk.deploy(&root, name, hosts.as_ref());
        let (account, manifest) = account.map(|checked| (&checked.account, &checked.manifest))?;
        let names_a_region = root.get("region").is_some() || root.get("regions").is_some();
        if manifest.region == RegionRule::Required && account.region.is_none() && !names_a_region {
            let (item, _) = named?;
            walk.note(
                item.at(),
                format!(
                    "plugin `{}` needs a region, and neither this key nor accounts/{}.toml names one: add `region = \"...\"`",
                    manifest.name, account.name
                ),
            );
        }
        if let Some((item, name)) = pair_name {
            walk.pair_name(&item, name, manifest);
        }
        let algorithm = match asked.is_some() && chosen.is_none() {
            true => None,
            false => walk.algorithm(root.get("generated_by"), generated_by?, chosen, manifest),
        };
        let (algorithm, generated_by) = (algorithm?, generated_by?);
        if let Some(item) = root.get("regions").filter(|_| !further_regions.is_empty()) {
            walk.can_be_copied(&item, algorithm, manifest);
        }
        let (on_drift, on_remove) = (on_drift?, on_remove?);
        walk.is_fine().then(|| Arc::new(KeySpec {
            name: name.to_owned(),
            account: account.name.clone(),
            region,
            further_regions,
            generated_by,
            algorithm,
            pair_name: pair_name.map(|(_, name)| name.to_owned()),
            on_drift,
            hosts,
            offer_to: Vec::new(),
            rotate,
            deploy,
            on_remove,
            present: true,
        }))
    });
    walk.finish(good, uses)
}

impl<'t> Walk<'t> {
    fn account<'a>(
        &mut self,
        item: &Item<'t>,
        account: &str,
        accounts: &'a Entries<CheckedAccount>,
    ) -> Option<&'a CheckedAccount> {
        let Some(entry) = accounts.get(account) else {
            let known = suggestion(account, accounts.keys().map(String::as_str));
            let message = match is_name(account) {
                true => format!(
                    "there is no account {}: create accounts/{account}.toml{known}",
                    shown(account)
                ),
                false => format!("{} is no account's name: {NAME_RULE}{known}", shown(account)),
            };
            self.note_value(item, message);
            return None;
        };
        if entry.good().is_none() {
            self.note_value(
                item,
                format!("account `{account}` has an error, see accounts/{account}.toml"),
            );
        }
        entry.good()
    }

    /// `region`, or the first of `regions` and the others.
    fn regions(&mut self, root: &Table<'t>, manifest: Option<&Manifest>) -> (Option<String>, Vec<String>) {
        let Some(item) = root.get("regions") else {
            let region = root.get("region").and_then(|item| self.region(&item, manifest));
            return (region, Vec::new());
        };
        if let Some(other) = root.get("region") {
            self.note(
                other.key_at(),
                "`region` and `regions` stand here both: keep `regions`, with the one where the key is made in front",
            );
        }
        let elements = self.strings(&item);
        if elements.as_ref().is_some_and(Vec::is_empty) && self.is_fine() {
            self.note_value(&item, "is empty: name at least one region, or take it out");
        }
        let mut regions = Vec::new();
        for (element, _) in elements.unwrap_or_default() {
            let Some(region) = self.region(&element, manifest) else {
                continue;
            };
            if regions.contains(&region) {
                self.note_value(&element, format!("names {} twice: keep one", shown(&region)));
                continue;
            }
            regions.push(region);
        }
        if regions.len() > MAX_REGIONS {
            self.note_value(&item, format!("names more than {MAX_REGIONS} regions"));
        }
        let mut regions = regions.into_iter();
        (regions.next(), regions.collect())
    }

    /// In further regions the public half is imported, wherever the private half was made.
    fn can_be_copied(&mut self, item: &Item<'t>, algorithm: Algorithm, manifest: &Manifest) {
        let plugin = &manifest.name;
        if manifest.region == RegionRule::Optional
            && manifest
                .quota
                .as_ref()
                .is_some_and(|quota| quota.scope == "account")
        {
            self.note_value(
                item,
                format!("plugin `{plugin}` keeps its pairs without regions: take it out"),
            );
        } else if !manifest.operations.contains_key(&OperationKind::Import) {
            self.note_value(
                item,
                format!("plugin `{plugin}` cannot import pairs, so a key can be in one region only: write `region`"),
            );
        } else if !manifest.algorithms.import.contains(&algorithm) {
            self.note_value(
                item,
                format!(
                    "plugin `{plugin}` does not import `{algorithm}`, so such a key can be in one region only: write \
                     `region`, or another `algorithm`"
                ),
            );
        }
    }

    /// Checks the longest name that a pair of this key can get: 6 hex digits of the installation and the number of
    /// the generation follow, joined as [`pair_name`](crate::naming::pair_name) joins them.
    fn pair_name(&mut self, item: &Item<'t>, name: &str, manifest: &Manifest) {
        let separator = ['-', '_', '.', ':']
            .into_iter()
            .find(|&c| manifest.names.punctuation.contains(c));
        let joint = separator.unwrap_or('x');
        let longest = format!("{name}{joint}ffffff{joint}999999");
        if let Err(reason) = manifest.names.check(&longest) {
            self.note_value(
                item,
                format!(
                    "plugin `{}` does not allow {}: its pairs are named up to {}, which {reason}",
                    manifest.name,
                    shown(name),
                    shown(&longest)
                ),
            );
        }
    }

    fn algorithm(
        &mut self,
        place: Option<Item<'t>>,
        generated_by: GeneratedBy,
        chosen: Option<(Item<'t>, Algorithm)>,
        manifest: &Manifest,
    ) -> Option<Algorithm> {
        let (operation, allowed, other) = match generated_by {
            GeneratedBy::Keyferry => (OperationKind::Import, &manifest.algorithms.import, "provider"),
            GeneratedBy::Provider => (OperationKind::Create, &manifest.algorithms.create, "keyferry"),
        };
        if allowed.is_empty() || !manifest.operations.contains_key(&operation) {
            let at = place.map_or(0, |item| item.at());
            self.note(
                at,
                format!(
                    "plugin `{}` cannot {operation} pairs: write `generated_by = \"{other}\"`",
                    manifest.name
                ),
            );
            return None;
        }
        match chosen {
            None => allowed.first().copied(),
            Some((_, algorithm)) if allowed.contains(&algorithm) => Some(algorithm),
            Some((item, algorithm)) => {
                let names = listed(allowed.iter().map(|algorithm| algorithm.name()));
                let by = match generated_by {
                    GeneratedBy::Keyferry => "keyferry",
                    GeneratedBy::Provider => "provider",
                };
                self.note_value(
                    &item,
                    format!(
                        "plugin `{}` does not take `{algorithm}` with generated_by = \"{by}\": {names} can be had",
                        manifest.name
                    ),
                );
                None
            }
        }
    }
}

const KNOWN: &[&str] = &[
    "account",
    "algorithm",
    "deploy",
    "generated_by",
    "hosts",
    "name",
    "on_drift",
    "on_remove",
    "region",
    "regions",
    "rotate",
];

/// More than any vendor has.
const MAX_REGIONS: usize = 64;
