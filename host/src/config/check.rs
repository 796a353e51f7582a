//! Holds a file against the tables of [`super::shape`]: keys, kinds and ranges. Knows nothing of what names refer to.

use std::collections::BTreeMap;

use super::read::{self, scalar, wrong_type};
use super::report::{Place, Problem};
use super::shape::{self, Kind, Need, Shape, Variant};
use super::suggest::{self, listed, nearest};
use super::units;
use super::yaml::{Entry, Node, Value};

/// Every way in which a merged file differs from the tables.
pub fn shape(root: &Node) -> Vec<Problem> {
    group(&shape::ROOT, root)
}

/// Every way in which a group of keys differs from its table.
pub fn group(shape: &'static Shape, root: &Node) -> Vec<Problem> {
    let mut check = Check { problems: Vec::new() };
    check.group(shape, &root.place, root);
    check.problems
}

/// What is wrong with the `version` of one file.
pub fn version(root: &Node) -> Option<Problem> {
    let Some(entry) = root.entry("version") else {
        let message = "the file does not say in which version of the format it is written";
        return Some(
            Problem::error("missing-version", message)
                .at(&root.place, "no `version`")
                .help("write `version: 1` as the first line"),
        );
    };
    match entry.value.value {
        Value::Integer(1) => None,
        Value::Integer(other) => Some(
            Problem::error("unknown-version", format!("this Weir does not know version {other} of the format"))
                .at(&entry.value.place, "unknown version")
                .help("this Weir reads `version: 1`"),
        ),
        _ => Some(wrong_type(&Kind::Version, "version", &entry.value).help("write `version: 1`")),
    }
}

struct Check {
    problems: Vec<Problem>,
}

impl Check {
    /// Checks a value; `owner` is the key that it belongs to, for problems that have no place of their own.
    fn value(&mut self, kind: &'static Kind, key: &str, owner: &Place, node: &Node) {
        match kind {
            Kind::Version => {} // Checked file by file, before they are merged.
            Kind::Free => self.free(kind, key, node),
            Kind::Secret if matches!(node.value, Value::Map(_)) => self.group(&shape::SECRET_NAME, owner, node),
            // Whatever stands there may be the secret itself.
            Kind::Secret => self.problems.push(secret_in_place(key, owner)),
            Kind::List(one) => self.list(kind, one, key, node),
            Kind::OneOrMany(one) if !matches!(node.value, Value::List(_)) => {
                self.one_of_many(kind, one, key, owner, node)
            }
            Kind::OneOrMany(one) => self.many(kind, one, key, node),
            Kind::Named(one, what) => self.named(kind, one, what, key, node),
            Kind::Group(shape) if matches!(node.value, Value::Map(_)) => self.group(shape, owner, node),
            Kind::Variants(what, variants) if matches!(node.value, Value::Map(_)) => {
                self.variants(what, variants, owner, node);
            }
            Kind::Either(one, other) => match (accepts(one, node), accepts(other, node)) {
                (true, _) => self.value(one, key, owner, node),
                (_, true) => self.value(other, key, owner, node),
                _ => self.problems.push(wrong_type(kind, key, node)),
            },
            Kind::Variants(what, _) if *what == shape::SECRET && node.text().is_some() => {
                self.problems.push(secret_in_file(key, owner));
            }
            Kind::Group(_) | Kind::Variants(..) => self.problems.push(wrong_type(kind, key, node)),
            _ => self.problems.extend(scalar(kind, key, node).err()),
        }
    }

    fn group(&mut self, shape: &'static Shape, owner: &Place, node: &Node) {
        self.duplicates("duplicate-key", node.entries());
        for entry in node.entries() {
            match shape.key(&entry.key) {
                Some(_) if matches!(entry.value.value, Value::Null) => {} // As if it were not there.
                Some(key) => self.value(&key.kind, key.name, &entry.place, &entry.value),
                None => self.problems.push(unknown_key(shape, entry)),
            }
        }
        for key in shape.keys {
            let wanted = matches!(key.need, Need::Required) && !matches!(key.kind, Kind::Version);
            if wanted && node.get(key.name).is_none() && !is_misspelt(shape, key.name, node) {
                self.problems.push(missing_key(shape, key.name, key.doc, owner, node));
            }
        }
    }

    fn variants(&mut self, what: &str, variants: &'static [Variant], owner: &Place, node: &Node) {
        let mut tellers: Vec<&'static str> = variants.iter().map(|variant| variant.key).collect();
        tellers.dedup();
        let present: Vec<&Entry> = tellers.iter().filter_map(|key| node.entry(key)).collect();
        match present.as_slice() {
            [] => self.problems.push(untold(what, &tellers, variants, owner, node)),
            [teller] => self.variant(what, variants, teller, owner, node),
            [first, second, ..] => self.problems.push(
                Problem::error("one-or-the-other", format!("a {what} has either `{}` or `{}`", first.key, second.key))
                    .at(&second.place, "too much")
                    .at(&first.place, "there already"),
            ),
        }
    }

    fn variant(&mut self, what: &str, variants: &'static [Variant], teller: &Entry, owner: &Place, node: &Node) {
        let candidates = variants.iter().filter(|variant| variant.key == teller.key);
        let words: Vec<&str> = candidates.clone().filter_map(|variant| variant.word).collect();
        let word = teller.value.text().unwrap_or_default();
        let chosen = candidates.clone().find(|variant| variant.word.is_none_or(|own| own == word));
        match chosen {
            Some(variant) => self.group(variant.shape, owner, node),
            None => self.problems.push(unknown_type(what, word, &words, teller)),
        }
    }

    fn named(&mut self, kind: &Kind, one: &'static Kind, what: &str, key: &str, node: &Node) {
        if !matches!(node.value, Value::Map(_)) {
            return self.problems.push(wrong_type(kind, key, node));
        }
        self.duplicates("duplicate-name", node.entries());
        for entry in node.entries() {
            if let Err(error) = units::name(&entry.key) {
                let problem =
                    Problem::error("invalid-name", error).at(&entry.place, &format!("not a name for a {what}"));
                self.problems.push(problem.help(units::name_help(&entry.key)));
            }
            self.value(one, &entry.key, &entry.place, &entry.value);
        }
    }

    fn list(&mut self, kind: &Kind, one: &'static Kind, key: &str, node: &Node) {
        if !matches!(node.value, Value::List(_)) {
            return self
                .problems
                .push(wrong_type(kind, key, node).help("begin each element with a dash, or write `[a, b]`"));
        }
        for element in node.elements() {
            self.value(one, key, &element.place, element);
        }
    }

    fn one_of_many(&mut self, kind: &Kind, one: &'static Kind, key: &str, owner: &Place, node: &Node) {
        if accepts(one, node) {
            self.value(one, key, owner, node);
        } else {
            self.problems.push(wrong_type(kind, key, node));
        }
    }

    fn many(&mut self, kind: &Kind, one: &'static Kind, key: &str, node: &Node) {
        if node.elements().is_empty() {
            let problem = Problem::error("empty-list", format!("`{key}` is an empty list")).at(&node.place, "empty");
            return self.problems.push(problem.help(format!("`{key}` takes {}", read::takes(kind))));
        }
        let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
        for element in node.elements() {
            self.value(one, key, &element.place, element);
            let Some(text) = element.text() else { continue };
            match seen.get(text) {
                Some(first) => self.problems.push(twice(
                    "listed-twice",
                    format!("`{key}` lists `{text}` twice"),
                    &element.place,
                    first,
                )),
                None => drop(seen.insert(text, &element.place)),
            }
        }
    }

    /// A plugin's own configuration: only what holds of every YAML file.
    fn free(&mut self, kind: &Kind, key: &str, node: &Node) {
        match node.value {
            Value::Map(_) => self.duplicates_within(node),
            _ => self.problems.push(wrong_type(kind, key, node)),
        }
    }

    fn duplicates_within(&mut self, node: &Node) {
        self.duplicates("duplicate-key", node.entries());
        node.entries().iter().for_each(|entry| self.duplicates_within(&entry.value));
        node.elements().iter().for_each(|element| self.duplicates_within(element));
    }

    fn duplicates(&mut self, code: &'static str, entries: &[Entry]) {
        let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
        for entry in entries {
            match seen.get(entry.key.as_str()) {
                Some(first) => {
                    self.problems.push(twice(code, format!("`{}` is defined twice", entry.key), &entry.place, first));
                }
                None => drop(seen.insert(&entry.key, &entry.place)),
            }
        }
    }
}

/// Whether a value has the form that a kind takes: one value, a list or a group.
fn accepts(kind: &Kind, node: &Node) -> bool {
    let (list, map) = (matches!(node.value, Value::List(_)), matches!(node.value, Value::Map(_)));
    match kind {
        Kind::List(_) => list,
        Kind::OneOrMany(one) => list || accepts(one, node),
        Kind::Either(one, other) => accepts(one, node) || accepts(other, node),
        Kind::Free | Kind::Named(..) | Kind::Group(_) | Kind::Variants(..) | Kind::Secret => map,
        _ => !list && !map && !matches!(node.value, Value::Null),
    }
}

/// Whether an unknown key was probably meant for this one: then one problem says all.
fn is_misspelt(shape: &Shape, key: &str, node: &Node) -> bool {
    let unknown = node.entries().iter().filter(|entry| shape.key(&entry.key).is_none());
    let meant = |entry: &Entry| nearest(&entry.key, shape.keys.iter().map(|key| key.name));
    unknown.filter_map(meant).any(|meant| meant == key)
}

fn secret_in_file(name: &str, owner: &Place) -> Problem {
    Problem::error("secret-in-file", format!("the secret `{name}` stands in the file itself ({owner:?})"))
        .at(owner, "here")
        .hidden()
        .help("keep it elsewhere: `{file: /run/secrets/NAME}` or `{env: NAME}`; and change it, for it is no secret any more")
}

fn secret_in_place(key: &str, owner: &Place) -> Problem {
    Problem::error("secret-in-file", format!("`{key}` stands in the file itself ({owner:?})"))
        .at(owner, "here")
        .hidden()
        .help(format!("write `{key}: {{secret: NAME}}`, and under `secrets` where NAME is kept: `{{file: /run/secrets/NAME}}` or `{{env: NAME}}`"))
}

fn twice(code: &'static str, message: String, again: &Place, first: &Place) -> Problem {
    Problem::error(code, message).at(again, "defined again here").at(first, "first defined here")
}

fn unknown_key(shape: &Shape, entry: &Entry) -> Problem {
    let known = shape.keys.iter().map(|key| key.name);
    Problem::error("unknown-key", format!("{} has no key `{}`", shape.what, entry.key))
        .at(&entry.place, "unknown key")
        .help(suggest::help(&entry.key, "its keys", known))
}

fn missing_key(shape: &Shape, key: &str, doc: &str, owner: &Place, node: &Node) -> Problem {
    let problem = Problem::error("missing-key", format!("{} needs `{key}`", shape.what));
    let problem = match node.entry(key) {
        Some(empty) => problem.at(&empty.place, "nothing behind it"),
        None => problem.at(owner, &format!("no `{key}`")),
    };
    problem.help(format!("`{key}`: {}", lower_first(doc)))
}

fn untold(what: &str, tellers: &[&'static str], variants: &[Variant], owner: &Place, node: &Node) -> Problem {
    let either = tellers.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" or ");
    let problem = Problem::error("missing-key", format!("a {what} needs {either}")).at(owner, &format!("no {either}"));
    let typo =
        node.entries().iter().find_map(|entry| Some((&entry.key, nearest(&entry.key, tellers.iter().copied())?)));
    let words: Vec<&str> = variants.iter().filter_map(|variant| variant.word).collect();
    match typo {
        Some((wrong, right)) => problem.help(format!("did you mean `{right}` by `{wrong}`?")),
        None if !words.is_empty() => problem.help(format!("types of a {what}: {}", listed(words))),
        None => problem,
    }
}

fn unknown_type(what: &str, word: &str, words: &[&str], teller: &Entry) -> Problem {
    if !matches!(teller.value.value, Value::Text(_)) {
        let message = format!(
            "`{}` takes one of {}, and here is {}",
            teller.key,
            listed(words.iter().copied()),
            teller.value.describe()
        );
        return Problem::error("wrong-type", message).at(&teller.value.place, &format!("expected a type of {what}"));
    }
    Problem::error("unknown-type", format!("there is no {what} of type `{word}`"))
        .at(&teller.value.place, "unknown type")
        .help(suggest::help(word, &format!("types of a {what}"), words.iter().copied()))
}

fn lower_first(doc: &str) -> String {
    let mut chars = doc.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
