//! Names and URLs of workspaces and stores, and which of them was meant.

use super::{ConfigError, StoreUrl, Workspace, sources::Values};

const MAX_NAME_BYTES: usize = 128;
const DEFAULT_PREFIX: &str = "user_data";
const DEFAULT_NAME: &str = "workspace";

/// Which workspace a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// None: what is set about it is not even looked at.
    Nothing,
    /// The one that is set, if one is; with none this is a plain init.
    IfSet,
    /// The one that is set.
    Workspace,
    /// The store that is set.
    Store,
    /// The one of this name below the store, or of this URL.
    Named(String),
}

/// What the sources name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) workspace: Option<Workspace>,
    pub(super) store: Option<StoreUrl>,
    pub(super) plain: bool,
}

/// Checks one segment: a name, a user, a part of a prefix.
fn check_segment(text: &str) -> Result<(), String> {
    if let Some(character) = text.chars().find(|character| *character == '/' || character.is_control()) {
        return Err(format!("a name has no {character:?} in it"));
    }
    match text {
        "" => Err("a name is 1 to 128 bytes long".to_owned()),
        "." | ".." | ".stopover" => Err(format!("a name is not {text:?}")),
        _ if text.len() > MAX_NAME_BYTES => Err(format!("a name is 1 to 128 bytes long, this one has {}", text.len())),
        _ if text.starts_with(' ') || text.ends_with(' ') => {
            Err("a name neither begins nor ends with ' ' (a space)".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_bucket(text: &str) -> Result<(), String> {
    let wrong = |character: &char| !(character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | ':'));
    match text.chars().find(wrong) {
        Some(character) => Err(format!("a bucket's name has no {character:?} in it")),
        None if text.is_empty() => Err("the bucket is missing; the form is s3://BUCKET/PREFIX/USER".to_owned()),
        None => Ok(()),
    }
}

/// Bucket and segments of `s3://BUCKET/…`; one slash at the end is forgiven.
fn split_url(text: &str) -> Result<(String, Vec<String>), String> {
    let rest = text.strip_prefix("s3://").ok_or("it is a URL that begins with s3://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let mut segments = rest.split('/');
    let bucket = segments.next().unwrap_or_default();
    check_bucket(bucket)?;
    let segments: Vec<_> = segments.map(str::to_owned).collect();
    for segment in &segments {
        check_segment(segment)?;
    }
    Ok((bucket.to_owned(), segments))
}

fn workspace_url(text: &str) -> Result<Workspace, String> {
    let (bucket, mut segments) = split_url(text)?;
    let name = segments.pop().ok_or("the workspace is missing; the form is s3://BUCKET/PREFIX/USER/NAME")?;
    Ok(Workspace { store: StoreUrl { bucket, prefix: segments.join("/") }, name })
}

fn store_url(text: &str) -> Result<StoreUrl, String> {
    let (bucket, segments) = split_url(text)?;
    Ok(StoreUrl { bucket, prefix: segments.join("/") })
}

/// The four parts, as far as they are set.
struct Parts {
    bucket: Option<String>,
    prefix: String,
    user: Option<String>,
    name: Option<String>,
    any: bool,
}

impl Parts {
    fn read(values: &Values) -> Result<Self, ConfigError> {
        let checked = |name: &str, check: fn(&str) -> Result<(), String>| match values.get(name) {
            Some(value) => check(value).map(|()| Some(value.to_owned())).map_err(|why| values.wrong(name, why)),
            None => Ok(None),
        };
        let given = values.get("S3_WORKSPACE_PREFIX");
        let prefix = given.unwrap_or(DEFAULT_PREFIX).trim_matches('/').to_owned();
        for segment in prefix.split('/').filter(|_| !prefix.is_empty()) {
            check_segment(segment).map_err(|why| values.wrong("S3_WORKSPACE_PREFIX", why))?;
        }
        let bucket = checked("S3_WORKSPACE_BUCKET", check_bucket)?;
        let user = checked("WORKSPACE_USER", check_segment)?;
        let name = checked("WORKSPACE_NAME", check_segment)?;
        let any = bucket.is_some() || given.is_some() || user.is_some() || name.is_some();
        Ok(Self { bucket, prefix, user, name, any })
    }

    /// The store, where bucket and user are set.
    fn store(&self) -> Option<StoreUrl> {
        let (bucket, user) = self.bucket.clone().zip(self.user.as_ref())?;
        let prefix = if self.prefix.is_empty() { user.clone() } else { format!("{}/{user}", self.prefix) };
        Some(StoreUrl { bucket, prefix })
    }

    /// Which part is missing to a store.
    fn missing(&self) -> ConfigError {
        if self.bucket.is_none() {
            ConfigError::Missing {
                name: "S3_WORKSPACE_BUCKET",
                remedy: "name the bucket, or set STOPOVER_WORKSPACE=s3://BUCKET/PREFIX/USER/NAME".to_owned(),
            }
        } else {
            ConfigError::Missing {
                name: "WORKSPACE_USER",
                remedy: "name the user, or set STOPOVER_WORKSPACE=s3://BUCKET/PREFIX/USER/NAME".to_owned(),
            }
        }
    }

    /// Whether these parts say something else than `workspace`, and what. The default name contradicts nothing.
    fn contradict(&self, workspace: &Workspace, name_only: bool) -> Option<String> {
        let name = self.name.as_ref().unwrap_or(&workspace.name);
        let differs = match self.store() {
            _ if name_only => false,
            Some(store) => store != workspace.store,
            None => self.bucket.as_ref().is_some_and(|bucket| *bucket != workspace.store.bucket),
        };
        (differs || *name != workspace.name).then(|| {
            let shown = |part: &Option<String>, unset: &str| part.clone().unwrap_or_else(|| unset.to_owned());
            let prefix = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
            format!(
                "s3://{}/{prefix}{}/{}",
                shown(&self.bucket, "(no bucket)"),
                shown(&self.user, "(no user)"),
                shown(&self.name, DEFAULT_NAME),
            )
        })
    }

    /// How a message names what is set of them.
    fn sources(values: &Values) -> String {
        let set = ["S3_WORKSPACE_BUCKET", "S3_WORKSPACE_PREFIX", "WORKSPACE_USER", "WORKSPACE_NAME"]
            .into_iter()
            .filter(|name| values.get(name).is_some());
        set.map(|name| values.source_of(name)).collect::<Vec<_>>().join(" + ")
    }
}

/// Finds the workspace and the store that the sources name.
pub(super) fn resolve(values: &Values, need: &Need) -> Result<Named, ConfigError> {
    if *need == Need::Nothing {
        return Ok(Named::default());
    }
    let parts = Parts::read(values)?;
    let given = values.get("STOPOVER_WORKSPACE").map(str::trim);
    let plain = given == Some("none");
    let store = values
        .get("STOPOVER_STORE")
        .map(|text| store_url(text.trim()).map_err(|why| values.wrong("STOPOVER_STORE", why)))
        .transpose()?;
    let url = given
        .filter(|text| text.contains("://"))
        .map(|text| workspace_url(text).map_err(|why| values.wrong("STOPOVER_WORKSPACE", why)))
        .transpose()?;
    let any_store = || store.clone().or_else(|| parts.store()).or_else(|| url.clone().map(|url| url.store));

    match need {
        Need::Named(name) if name.contains("://") => {
            let workspace = workspace_url(name).map_err(|form| argument(name, form))?;
            return Ok(Named { store: Some(workspace.store.clone()), workspace: Some(workspace), plain });
        }
        Need::Named(name) => {
            check_segment(name).map_err(|form| argument(name, form))?;
            let store = any_store().ok_or_else(|| no_store(&parts))?;
            return Ok(Named {
                workspace: Some(Workspace { store: store.clone(), name: name.clone() }),
                store: Some(store),
                plain,
            });
        }
        Need::Store => {
            return any_store()
                .map(|store| Named { workspace: None, store: Some(store), plain })
                .ok_or_else(|| no_store(&parts));
        }
        Need::Nothing | Need::IfSet | Need::Workspace => {}
    }

    let workspace = match (given, url.clone()) {
        (Some("none"), _) => None,
        (_, Some(workspace)) => Some(workspace),
        (Some(name), None) => {
            check_segment(name).map_err(|why| values.wrong("STOPOVER_WORKSPACE", why))?;
            let Some(store) = store.clone().or_else(|| parts.store()) else {
                return Err(no_store(&parts));
            };
            Some(Workspace { store, name: name.to_owned() })
        }
        (None, None) => match (store.clone(), &parts.name) {
            (Some(store), Some(name)) if parts.bucket.is_none() => Some(Workspace { store, name: name.clone() }),
            (Some(_), _) if parts.bucket.is_none() => {
                return Err(ConfigError::Missing {
                    name: "STOPOVER_WORKSPACE",
                    remedy: "name the workspace below STOPOVER_STORE, or set none for a plain init".to_owned(),
                });
            }
            (None, _) if !parts.any => None,
            _ => {
                let store = parts.store().ok_or_else(|| parts.missing())?;
                Some(Workspace { store, name: parts.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned()) })
            }
        },
    };
    if let Some(workspace) = &workspace {
        // Below STOPOVER_STORE a bare name is complete: only another name contradicts it.
        let complete = url.is_none() && store.is_some();
        if let Some(second_url) = parts.contradict(workspace, complete).filter(|_| given.is_some()) {
            return Err(ConfigError::Conflict {
                first: values.source_of("STOPOVER_WORKSPACE"),
                first_url: workspace.url(),
                second: Parts::sources(values),
                second_url,
            });
        }
    } else if *need == Need::Workspace && plain {
        return Err(values.wrong("STOPOVER_WORKSPACE", "this needs a workspace: s3://BUCKET/PREFIX/USER/NAME"));
    } else if *need == Need::Workspace {
        return Err(ConfigError::Missing {
            name: "STOPOVER_WORKSPACE",
            remedy: "name the workspace: STOPOVER_WORKSPACE=s3://BUCKET/PREFIX/USER/NAME".to_owned(),
        });
    }
    let store = store.or_else(|| workspace.as_ref().map(|workspace| workspace.store.clone()));
    Ok(Named { workspace, store, plain })
}

fn argument(name: &str, form: String) -> ConfigError {
    ConfigError::Value { source_name: "NAME".to_owned(), value: format!("{name:?}"), form }
}

fn no_store(parts: &Parts) -> ConfigError {
    if parts.any {
        return parts.missing();
    }
    ConfigError::Missing {
        name: "STOPOVER_STORE",
        remedy: "a bare name needs the store: STOPOVER_STORE=s3://BUCKET/PREFIX/USER".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn resolved(environment: &[(&str, &str)], need: &Need) -> Result<Named, String> {
        let sources = Sources {
            environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            ..Sources::default()
        };
        let values = Values::collect(&sources).map_err(|error| error.to_string())?;
        resolve(&values, need).map_err(|error| error.to_string())
    }

    fn url(environment: &[(&str, &str)]) -> Result<Option<String>, String> {
        Ok(resolved(environment, &Need::IfSet)?.workspace.map(|workspace| workspace.url()))
    }

    const BUCKET: (&str, &str) = ("S3_WORKSPACE_BUCKET", "b");
    const USER: (&str, &str) = ("WORKSPACE_USER", "ann");
    const STORE: (&str, &str) = ("STOPOVER_STORE", "s3://s/p/u");

    #[test]
    fn a_workspace_is_a_url_or_four_parts_or_a_name_below_a_store() {
        for (environment, expected) in [
            (&[][..], None),
            (&[("STOPOVER_WORKSPACE", "none"), BUCKET], None),
            (&[("STOPOVER_WORKSPACE", "")], None),
            (&[("STOPOVER_WORKSPACE", "s3://b/w")], Some("s3://b/w")),
            (&[("STOPOVER_WORKSPACE", "s3://b/p/u/w/")], Some("s3://b/p/u/w")),
            (&[BUCKET, USER], Some("s3://b/user_data/ann/workspace")),
            (&[BUCKET, USER, ("WORKSPACE_NAME", "w"), ("S3_WORKSPACE_PREFIX", "/x/y/")], Some("s3://b/x/y/ann/w")),
            (&[BUCKET, USER, ("S3_WORKSPACE_PREFIX", "/")], Some("s3://b/ann/workspace")),
            (&[STORE, ("STOPOVER_WORKSPACE", "w")], Some("s3://s/p/u/w")),
            (&[STORE, ("WORKSPACE_NAME", "w")], Some("s3://s/p/u/w")),
            (&[BUCKET, USER, ("STOPOVER_WORKSPACE", "w")], Some("s3://b/user_data/ann/w")),
            (&[BUCKET, USER, STORE, ("STOPOVER_WORKSPACE", "w")], Some("s3://s/p/u/w")),
            (&[BUCKET, USER, ("STOPOVER_WORKSPACE", "s3://b/user_data/ann/w")], Some("s3://b/user_data/ann/w")),
            (&[STORE, ("STOPOVER_WORKSPACE", "s3://b/user_data/ann/w")], Some("s3://b/user_data/ann/w")),
        ] {
            assert_eq!(url(environment), Ok(expected.map(str::to_owned)), "{environment:?}");
        }
    }

    #[test]
    fn half_a_workspace_names_the_missing_half() {
        for (environment, missing) in [
            (&[BUCKET][..], "WORKSPACE_USER"),
            (&[USER], "S3_WORKSPACE_BUCKET"),
            (&[("WORKSPACE_NAME", "w")], "S3_WORKSPACE_BUCKET"),
            (&[("STOPOVER_WORKSPACE", "w")], "STOPOVER_STORE"),
            (&[("STOPOVER_WORKSPACE", "w"), BUCKET], "WORKSPACE_USER"),
            (&[STORE], "STOPOVER_WORKSPACE"),
        ] {
            let error = url(environment).unwrap_err();
            assert!(error.starts_with(&format!("{missing} is not set: ")), "{error}");
        }
        assert!(resolved(&[], &Need::Workspace).unwrap_err().starts_with("STOPOVER_WORKSPACE is not set"));
        let none = resolved(&[("STOPOVER_WORKSPACE", "none")], &Need::Workspace).unwrap_err();
        assert!(none.contains("is \"none\""), "{none}");
        assert!(resolved(&[BUCKET], &Need::Nothing).is_ok());
    }

    #[test]
    fn two_sources_that_name_different_workspaces_are_both_named() {
        for environment in [
            &[("STOPOVER_WORKSPACE", "s3://other/user_data/ann/w"), BUCKET, USER][..],
            &[("STOPOVER_WORKSPACE", "s3://b/user_data/ann/w"), BUCKET, USER, ("WORKSPACE_NAME", "v")],
            &[("STOPOVER_WORKSPACE", "s3://other/user_data/ann/w"), BUCKET],
            &[("STOPOVER_WORKSPACE", "w"), STORE, ("WORKSPACE_NAME", "v")],
        ] {
            let error = url(environment).unwrap_err();
            assert!(error.contains("STOPOVER_WORKSPACE names s3://") && error.contains("two different"), "{error}");
            assert!(error.contains("S3_WORKSPACE_BUCKET") || error.contains("WORKSPACE_NAME"), "{error}");
        }
    }

    #[test]
    fn a_bad_name_is_refused_with_its_character() {
        for (name, why) in
            [("a\nb", "'\\n'"), ("..", "\"..\""), (".stopover", "\".stopover\""), (" w", "a space"), ("a/b", "'/'")]
        {
            let error = resolved(&[BUCKET, USER, ("WORKSPACE_NAME", name)], &Need::IfSet).unwrap_err();
            assert!(error.contains(why) && error.starts_with("WORKSPACE_NAME is "), "{error}");
        }
        let long = "é".repeat(65);
        assert!(resolved(&[STORE], &Need::Named(long)).unwrap_err().contains("130"));
        for bad in ["s3://", "s3://b", "s3://b//w", "s3:///w", "https://b/w", "s3://b/p/../w", "s3://a b/w"] {
            assert!(url(&[("STOPOVER_WORKSPACE", bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_lists_find_their_store() {
        let container = [("STOPOVER_WORKSPACE", "s3://b/p/u/w")];
        let named = resolved(&container, &Need::Named("other".to_owned())).unwrap();
        assert_eq!(named.workspace.map(|workspace| workspace.url()), Some("s3://b/p/u/other".to_owned()));
        assert_eq!(
            resolved(&container, &Need::Store).unwrap().store.map(|store| store.url()),
            Some("s3://b/p/u".to_owned())
        );
        let named = resolved(&[STORE], &Need::Named("s3://c/w".to_owned())).unwrap();
        assert_eq!(named.workspace.map(|workspace| workspace.url()), Some("s3://c/w".to_owned()));
        assert!(resolved(&[], &Need::Store).is_err());
    }
}
