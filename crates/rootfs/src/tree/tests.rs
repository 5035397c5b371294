//! The tree against a model of what layers mean.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn file(source: u32) -> Object {
    Object::File { size: 1, source, pieces: None }
}

fn tree() -> Tree {
    let mut tree = Tree::new(Limits::default());
    tree.begin_layer().unwrap();
    tree
}

/// All names, with the source of files.
fn list(tree: &Tree) -> BTreeMap<String, Option<u32>> {
    let mut list = BTreeMap::new();
    let mut pending = vec![(Tree::ROOT, String::new())];
    while let Some((directory, prefix)) = pending.pop() {
        for id in tree.children(directory) {
            let path = format!("{prefix}{}", shown(tree.name(id)));
            let node = tree.entry(id).node;
            assert_eq!(tree.find(directory, tree.name(id)), Some(id), "the index knows `{path}`");
            assert_eq!(tree.path(id), path);
            let source = match tree.node(node).kind {
                Kind::File { source, .. } => Some(source),
                _ => None,
            };
            if tree.is_directory(node) {
                pending.push((node, format!("{path}/")));
            }
            assert!(list.insert(path, source).is_none(), "a name is there once");
        }
    }
    list
}

#[test]
fn the_root_has_attributes_like_any_directory() {
    let mut tree = tree();
    let attributes = Attributes { mode: 0o711, ..Attributes::implied() };
    tree.insert(b"./", Object::Directory, &attributes).unwrap();
    assert_eq!(tree.node(Tree::ROOT).mode, 0o711);
    assert!(tree.insert(b".", file(0), &attributes).is_err());
    assert!(list(&tree).is_empty());
}

#[test]
fn replaced_parents_are_not_found_any_more() {
    let mut tree = tree();
    let plain = Attributes::implied();
    let link = |target: &str| Object::Symlink { target: target.into() };
    tree.insert(b"x/1", file(1), &plain).unwrap();
    tree.insert(b"x", link("y"), &plain).unwrap();
    tree.insert(b"x/2", file(2), &plain).unwrap();
    tree.insert(b"x", link("z"), &plain).unwrap();
    tree.insert(b"x/3", file(3), &plain).unwrap();
    let names: Vec<_> = list(&tree).into_keys().collect();
    assert_eq!(names, ["x", "y", "y/2", "z", "z/3"]);
}

#[test]
fn attributes_are_kept_once() {
    let mut tree = tree();
    let mut attributes = Attributes::implied();
    attributes.xattrs.set(b"user.x", &[1; 1000]);
    for number in 0..1000 {
        tree.insert(format!("{number}").as_bytes(), file(number), &attributes).unwrap();
    }
    assert!(tree.xattrs.bytes() < 3000, "{}", tree.xattrs.bytes());
}

/// What a layer can say about one of few names.
#[derive(Debug, Clone)]
enum Say {
    File(String),
    Directory(String),
    Hide(String),
    Opaque(String),
}

fn say() -> impl Strategy<Value = Say> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let path = prop::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"));
    (0..6, path).prop_map(|(what, path)| match what {
        0..3 => Say::File(path),
        3 => Say::Directory(path),
        4 => Say::Hide(path),
        _ => Say::Opaque(path),
    })
}

/// The same with maps of whole paths: first everything is hidden, then everything is added.
/// `None` where the order matters, because a name is below something that is no directory.
fn model(layers: &[Vec<Say>]) -> Option<BTreeMap<String, Option<u32>>> {
    let mut files: BTreeMap<String, Option<u32>> = BTreeMap::new();
    let mut number = 0;
    for layer in layers {
        for say in layer {
            match say {
                Say::Hide(path) => {
                    files.retain(|name, _| name != path && !name.starts_with(&format!("{path}/")));
                }
                Say::Opaque(path) => files.retain(|name, _| !name.starts_with(&format!("{path}/"))),
                _ => {}
            }
        }
        for say in layer {
            let (path, is_file) = match say {
                Say::File(path) => (path, true),
                Say::Directory(path) => (path, false),
                _ => continue,
            };
            for (slash, _) in path.match_indices('/') {
                if files.entry(path[..slash].to_owned()).or_insert(None).is_some() {
                    return None;
                }
            }
            if is_file {
                files.retain(|name, _| !name.starts_with(&format!("{path}/")));
                files.insert(path.clone(), Some(number));
                number += 1;
            } else if files.get(path).is_none_or(Option::is_some) {
                files.insert(path.clone(), None);
            }
        }
    }
    Some(files)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn layers_mean_what_the_model_says(
        layers in prop::collection::vec(prop::collection::vec(say(), 0..8), 1..5)
    ) {
        let Some(expected) = model(&layers) else { return Ok(()) };
        let mut tree = Tree::new(Limits::default());
        let mut number = 0;
        let plain = Attributes::implied();
        for layer in &layers {
            tree.begin_layer().unwrap();
            for say in layer {
                let outcome = match say {
                    Say::File(path) => {
                        number += 1;
                        tree.insert(path.as_bytes(), file(number - 1), &plain)
                    }
                    Say::Directory(path) => tree.insert(path.as_bytes(), Object::Directory, &plain),
                    Say::Hide(path) => tree.hide(path.as_bytes()),
                    Say::Opaque(path) => tree.hide_siblings(format!("{path}/x").as_bytes()),
                };
                // A name below a file of a lower layer that is hidden only later.
                if let Err(TreeError::Parent { .. }) = outcome {
                    return Ok(());
                }
                outcome.unwrap();
            }
        }
        prop_assert_eq!(list(&tree), expected);
    }
}
