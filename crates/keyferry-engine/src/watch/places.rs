//! Which folders to watch, and for which names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// Folders whose entries decide what is read. Their paths are resolved: no link is left in them, so that no folder
/// stands here under two names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Places(BTreeMap<PathBuf, Interest>);

/// Which entries of a folder matter.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Interest {
    Everything,
    Names(BTreeSet<OsString>),
}

impl Places {
    /// The places of a config directory in which `links` are the files that are symbolic links.
    pub(super) fn of(dir: &Path, links: &[PathBuf]) -> Self {
        let mut places = Self::default();
        // Without a current directory a relative path leads nowhere.
        let Ok(dir) = std::path::absolute(dir) else {
            return places;
        };
        if let Some(root) = places.resolve(&dir) {
            for folder in ["accounts", "keys"] {
                if let Some(folder) = places.resolve(&root.join(folder)) {
                    places.everything(folder);
                }
            }
            places.everything(root);
        }
        for link in links.iter().filter_map(|link| std::path::absolute(link).ok()) {
            places.resolve(&link);
        }
        places
    }

    pub(super) fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    /// Whether this is one of the folders.
    pub(super) fn has(&self, folder: &Path) -> bool {
        self.0.contains_key(folder)
    }

    /// Whether a change of that path may change what is read.
    pub(super) fn matter(&self, path: &Path) -> bool {
        let inside = match (
            path.parent().and_then(|folder| self.0.get(folder)),
            path.file_name(),
        ) {
            (Some(Interest::Everything), _) => true,
            (Some(Interest::Names(names)), Some(name)) => names.contains(name),
            _ => false,
        };
        inside || self.has(path)
    }

    /// Follows a path link by link and notes every place where it can be led elsewhere: the folder of each link on
    /// the way, and the folder of its end. Of a path that leads nowhere that is the folder where it breaks off.
    fn resolve(&mut self, path: &Path) -> Option<PathBuf> {
        let mut todo = parts(path);
        let mut place = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == ".." {
                place.pop();
                continue;
            }
            let next = place.join(&part);
            let metadata = std::fs::symlink_metadata(&next).ok();
            let is_link = metadata.as_ref().is_some_and(std::fs::Metadata::is_symlink);
            if is_link || metadata.is_none() || todo.is_empty() {
                self.name(&place, &part);
            }
            metadata?;
            if !is_link {
                place = next;
                continue;
            }
            links += 1;
            let target = std::fs::read_link(&next).ok().filter(|_| links <= MAX_LINKS)?;
            if target.is_absolute() {
                place = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                todo.push_front(part);
            }
        }
        Some(place)
    }

    fn everything(&mut self, folder: PathBuf) {
        self.0.insert(folder, Interest::Everything);
    }

    fn name(&mut self, folder: &Path, name: &OsStr) {
        let interest = self
            .0
            .entry(folder.to_owned())
            .or_insert_with(|| Interest::Names(BTreeSet::new()));
        if let Interest::Names(names) = interest {
            names.insert(name.to_owned());
        }
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// As many as Linux follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Compares the folders and names with `FOLDER: NAMES` lines, folders below a temporary one.
    #[track_caller]
    fn check(prepare: impl FnOnce(&Path), links: &[&str], expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        prepare(&root);
        let links: Vec<PathBuf> = links.iter().map(|link| root.join(link)).collect();
        let places = Places::of(&root.join("config"), &links);
        let lines: Vec<String> = places
            .0
            .iter()
            .map(|(folder, interest)| {
                let folder = folder
                    .strip_prefix(&root)
                    .expect("all lies below the temporary folder");
                let names = match interest {
                    Interest::Everything => "everything".to_owned(),
                    Interest::Names(names) => names
                        .iter()
                        .map(|name| name.to_string_lossy())
                        .collect::<Vec<_>>()
                        .join(" "),
                };
                format!("{}: {names}", folder.display())
            })
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_directory_its_folders_and_its_name() {
        let prepare = |root: &Path| {
            fs::create_dir_all(root.join("config/keys")).unwrap();
            fs::create_dir_all(root.join("config/accounts")).unwrap();
        };
        check(
            prepare,
            &[],
            &[
                ": config",
                "config: everything",
                "config/accounts: everything",
                "config/keys: everything",
            ],
        );
    }

    #[test]
    fn where_nothing_is_yet_the_place_where_it_would_appear() {
        check(|_| (), &[], &[": config"]);
        check(
            |root| fs::create_dir(root.join("config")).unwrap(),
            &[],
            &[": config", "config: everything"],
        );
    }

    #[test]
    fn every_link_on_the_way() {
        let prepare = |root: &Path| {
            fs::create_dir_all(root.join("store/v1/keys")).unwrap();
            fs::write(root.join("store/v1/keys/web.toml"), "").unwrap();
            fs::create_dir(root.join("config")).unwrap();
            symlink("v1", root.join("store/now")).unwrap();
            symlink("../store/now/keys", root.join("config/keys")).unwrap();
            symlink("web.toml", root.join("store/v1/keys/link.toml")).unwrap();
        };
        check(
            prepare,
            &["config/keys/link.toml"],
            &[
                ": config",
                "config: everything",
                "store: now",
                "store/v1: keys",
                "store/v1/keys: everything",
            ],
        );
    }

    #[test]
    fn links_in_a_circle_end() {
        check(
            |root| symlink("config", root.join("config")).unwrap(),
            &[],
            &[": config"],
        );
    }
}
