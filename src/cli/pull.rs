//! `pull` and `push`.

use clap::Args;
use hyper::Method;

use crate::client::{Body, Client, Query, segment};
use crate::image::Reference;

use super::bars::{Show, follow};
use super::docker_config::{ConfigFile, key_of};
use super::error::CliError;
use super::out::{self, To};

#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Skip image verification; no signatures are verified here
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide = true
    )]
    disable_content_trust: Option<bool>,
    /// Set platform if server is multi-platform capable
    #[arg(long)]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
}

#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Skip image signing; nothing is signed here
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide = true
    )]
    disable_content_trust: Option<bool>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

/// What this client cannot do is refused.
fn check_trust(flag: Option<bool>) -> Result<(), CliError> {
    if flag == Some(false) {
        return Err(CliError::Conflict(
            "--disable-content-trust=false: signatures are neither made nor verified here",
        ));
    }
    Ok(())
}

fn parse(name: &str) -> Result<Reference, CliError> {
    Reference::parse(name).map_err(|error| CliError::Image(error.to_string()))
}

/// Pulls an image; prints its full name at the end.
///
/// # Errors
/// The name, the daemon, the registry.
pub(crate) async fn pull(client: &Client, args: PullArgs) -> Result<u8, CliError> {
    check_trust(args.disable_content_trust)?;
    let mut name = parse(&args.name)?;
    let bare = name.tag.is_none() && name.digest.is_none();
    if args.all_tags && !bare {
        return Err(CliError::AllTags);
    }
    if bare && !args.all_tags {
        name = name.with_default_tag();
        if !args.quiet {
            out::line(To::Out, "Using default tag: latest");
        }
    }
    let show = if args.quiet {
        Show::Nothing
    } else {
        Show::On(To::Out)
    };
    fetch(client, &name, args.platform.as_deref(), show).await?;
    let full = match (&name.tag, &name.digest) {
        (_, Some(digest)) => format!("{}@{digest}", name.repository),
        (Some(tag), None) => format!("{}:{tag}", name.repository),
        (None, None) => name.repository.clone(),
    };
    out::line(To::Out, &full);
    Ok(0)
}

/// Asks the daemon to pull what `run` or `create` needs.
///
/// # Errors
/// As [`pull`].
pub(crate) async fn pull_for(
    client: &Client,
    image: &str,
    platform: Option<&str>,
    quiet: bool,
) -> Result<(), CliError> {
    let name = parse(image)?.with_default_tag();
    let show = if quiet {
        Show::Nothing
    } else {
        Show::On(To::Err)
    };
    fetch(client, &name, platform, show).await
}

async fn fetch(
    client: &Client,
    name: &Reference,
    platform: Option<&str>,
    show: Show,
) -> Result<(), CliError> {
    let mut query = Query::new();
    query
        .push("fromImage", &name.repository)
        .option("tag", name.digest.as_deref().or(name.tag.as_deref()))
        .option("platform", platform.filter(|text| !text.is_empty()));
    let path = format!("/images/create{}", query.as_str());
    let header = header(name)?;
    let answer = client
        .send_with(Method::POST, &path, Body::Empty, &[header])
        .await?;
    follow(&format!("POST {path}"), answer, show).await
}

/// Who one is at the registry of a name.
fn header(name: &Reference) -> Result<(&'static str, String), CliError> {
    let key = key_of(name.split().0);
    let login = ConfigFile::load().login(key)?;
    Ok(("X-Registry-Auth", login.header(key)))
}

/// Pushes a tag, or all of a repository.
///
/// # Errors
/// The name, the daemon, the registry.
pub(crate) async fn push(client: &Client, args: PushArgs) -> Result<u8, CliError> {
    check_trust(args.disable_content_trust)?;
    let mut name = parse(&args.name)?;
    if name.digest.is_some() {
        return Err(CliError::Image("cannot push a digest reference".to_owned()));
    }
    if args.all_tags && name.tag.is_some() {
        return Err(CliError::AllTags);
    }
    if name.tag.is_none() && !args.all_tags {
        name = name.with_default_tag();
        if !args.quiet {
            out::line(To::Out, "Using default tag: latest");
        }
    }
    let mut query = Query::new();
    query.option("tag", name.tag.as_deref());
    let path = format!(
        "/images/{}/push{}",
        segment(&name.repository),
        query.as_str()
    );
    let header = header(&name)?;
    let answer = client
        .send_with(Method::POST, &path, Body::Empty, &[header])
        .await?;
    let show = if args.quiet {
        Show::Nothing
    } else {
        Show::On(To::Out)
    };
    follow(&format!("POST {path}"), answer, show).await?;
    if args.quiet {
        let full = match &name.tag {
            Some(tag) => format!("{}:{tag}", name.repository),
            None => name.repository.clone(),
        };
        out::line(To::Out, &full);
    }
    Ok(0)
}
