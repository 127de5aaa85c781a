//! Makes the SDK's client: endpoint, region, credentials, checksums, timeouts.

use std::{sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig,
    ecs::EcsCredentialsProvider,
    environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider},
    imds::{credentials::ImdsCredentialsProvider, region::ImdsRegionProvider},
    meta::{credentials::CredentialsProviderChain, region::RegionProviderChain},
    profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider},
    provider_config::ProviderConfig,
    retry::RetryConfig,
    stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
    web_identity_token::WebIdentityTokenCredentialsProvider,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::{
    Client,
    config::{IdentityCache, RequestChecksumCalculation, SharedHttpClient},
};

use super::{
    StoreError, StoreErrorKind,
    roots::{plain_client, tls_client},
    wire::{Tap, Wire},
};
use crate::config::{Access, Credentials};

/// A connection that does not come about in this time is tried again.
const CONNECT: Duration = Duration::from_secs(5);

/// Where a region is not known and does not matter.
const ANY_REGION: &str = "us-east-1";

/// What a client is made from, and made again when the region or the credentials turn out to be stale.
#[derive(Debug)]
pub(super) struct Recipe {
    endpoint: Option<String>,
    credentials: Option<Credentials>,
    http: SharedHttpClient,
    sdk: SdkConfig,
    wire: Arc<Wire>,
    /// Whether the server is AWS.
    pub(super) aws: bool,
    /// Whether it is AWS and requests travel encrypted, so that payloads need no signature of their own.
    pub(super) unsigned_payload: bool,
}

/// The machine's own metadata, asked once: where there is none, nobody should wait for it.
fn imds(context: &ProviderConfig) -> aws_config::imds::Client {
    aws_config::imds::Client::builder()
        .configure(context)
        .max_attempts(1)
        .connect_timeout(Duration::from_secs(1))
        .read_timeout(Duration::from_secs(1))
        .build()
}

/// The region that environment, profile or the machine's metadata name. The SDK's own chain would ask the last with a
/// client that this build does not have.
fn region_of_the_machine(http: &SharedHttpClient) -> RegionProviderChain {
    let context = ProviderConfig::without_region().with_http_client(http.clone());
    RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::builder().configure(&context).build())
        .or_else(ImdsRegionProvider::builder().configure(&context).imds_client(imds(&context)).build())
}

impl Recipe {
    pub(super) async fn new(access: &Access, wire: Arc<Wire>) -> Result<Self, StoreError> {
        let given = access.endpoint.url.as_deref();
        // No certificates are read where nothing will be encrypted: keys are given, the endpoint is plain.
        let plain = given.is_some_and(|url| url.starts_with("http://")) && access.credentials.is_some();
        let http = if plain { plain_client() } else { tls_client()? };
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone()).no_credentials();
        loader = match (&access.endpoint.region, given) {
            (Some(region), _) => loader.region(Region::new(region.clone())),
            // Asking IMDS for a region that does not matter costs seconds where there is none.
            (None, Some(url)) if !is_aws(url) => loader.region(Region::new(ANY_REGION)),
            (None, _) => loader.region(region_of_the_machine(&http).or_else(ANY_REGION)),
        };
        let sdk = loader.load().await;
        let endpoint = given.or(sdk.endpoint_url()).map(str::to_owned);
        let aws = endpoint.as_deref().is_none_or(is_aws);
        let encrypted = endpoint.as_deref().is_none_or(|url| url.starts_with("https://"));
        let credentials = access.credentials.clone();
        Ok(Self { endpoint, credentials, http, sdk, wire, aws, unsigned_payload: aws && encrypted })
    }

    /// The region that the settings name.
    pub(super) fn region(&self) -> String {
        self.sdk.region().map_or_else(|| ANY_REGION.to_owned(), ToString::to_string)
    }

    /// The endpoint as a user would name it.
    pub(super) fn place(&self, region: &str) -> String {
        self.endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"))
    }

    /// A client with credentials that are asked for anew.
    pub(super) fn client(&self, region: &str) -> Client {
        let mut config = aws_sdk_s3::config::Builder::from(&self.sdk)
            .region(Region::new(region.to_owned()))
            .credentials_provider(self.provider())
            .identity_cache(IdentityCache::lazy().build())
            .http_client(self.http.clone())
            .force_path_style(!self.aws)
            // Retries, deadlines and stalls are ours (`send`): a conditional write must not be repeated blindly.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .interceptor(Tap(Arc::clone(&self.wire)));
        if !self.aws && std::env::var_os("AWS_REQUEST_CHECKSUM_CALCULATION").is_none() {
            config = config.request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
        }
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Client::from_conf(config.build())
    }

    /// The given pair, else the places where AWS tools look, in their order.
    fn provider(&self) -> SharedCredentialsProvider {
        if let Some(given) = &self.credentials {
            return SharedCredentialsProvider::new(aws_credential_types::Credentials::new(
                &given.access_key,
                &given.secret_key,
                given.session_token.clone(),
                None,
                "settings",
            ));
        }
        let context = ProviderConfig::without_region()
            .with_http_client(self.http.clone())
            .with_region(self.sdk.region().cloned());
        let profile = std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".to_owned());
        let imds = imds(&context);
        SharedCredentialsProvider::new(
            CredentialsProviderChain::first_try("environment", EnvironmentVariableCredentialsProvider::new())
                .or_else(
                    format!("profile \"{profile}\""),
                    ProfileFileCredentialsProvider::builder().configure(&context).build(),
                )
                .or_else("web identity", WebIdentityTokenCredentialsProvider::builder().configure(&context).build())
                .or_else("ECS", EcsCredentialsProvider::builder().configure(&context).build())
                .or_else("IMDS", ImdsCredentialsProvider::builder().configure(&context).imds_client(imds).build()),
        )
    }
}

/// Whether the URL's host is a name of AWS: virtual-host style, conditions and checksums are known there.
fn is_aws(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host).to_ascii_lowercase();
    [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|suffix| host.ends_with(suffix))
}

/// Refuses a bucket name that would be read as another place.
pub(super) fn check_bucket(bucket: &str) -> Result<(), StoreError> {
    let odd = |sign: char| !(sign.is_ascii_alphanumeric() || matches!(sign, '.' | '-' | '_' | ':' | '/'));
    // `:` and `/` are part of access point ARNs only.
    let slash = bucket.contains('/') && !bucket.starts_with("arn:");
    if bucket.is_empty() || bucket.contains(odd) || slash {
        let text = format!("\"{bucket}\" is no bucket name: letters, digits, dots and hyphens");
        return Err(StoreError::new(StoreErrorKind::Settings, "connect", text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_aws_are_aws() {
        for url in [
            "https://s3.eu-west-1.amazonaws.com",
            "https://S3.cn-north-1.amazonaws.com.cn:443/",
            "https://bucket.vpce-1a2b-3c4d.s3.us-east-1.vpce.amazonaws.com",
            "https://s3.dualstack.us-east-1.api.aws",
        ] {
            assert!(is_aws(url), "{url}");
        }
        for url in [
            "http://127.0.0.1:9000",
            "http://minio:9000/amazonaws.com",
            "https://amazonaws.com.example.org",
            "https://user@example.org?.amazonaws.com",
        ] {
            assert!(!is_aws(url), "{url}");
        }
    }

    #[test]
    fn a_bucket_name_cannot_lead_elsewhere() {
        for name in ["workspaces", "my.bucket-1", "arn:aws:s3:eu-west-1:1234:accesspoint/ap"] {
            assert!(check_bucket(name).is_ok(), "{name}");
        }
        for name in ["", "a/b", "a?b", "../x", "a b", "a#b"] {
            assert!(check_bucket(name).is_err(), "{name}");
        }
    }
}
