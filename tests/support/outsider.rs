//! Somebody else who uses the bucket: a plain S3 client that shares no code with stopover's store.

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Region, RequestChecksumCalculation},
    operation::get_object::GetObjectError,
    primitives::ByteStream,
    types::EncodingType,
};

use super::{
    servers::{ACCESS_KEY, SECRET_KEY, memory::Window},
    wait,
};

#[derive(Clone)]
pub struct Outsider {
    pub bucket: String,
    pub endpoint: String,
    pub client: Client,
    /// The server encodes keys in listings where it is asked to: XML cannot hold all of them as they are.
    pub encodes: bool,
    /// A server in this process's memory is looked into: that takes no request.
    pub window: Option<Window>,
}

/// An object as an outsider sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub bytes: Vec<u8>,
    pub etag: String,
    pub content_type: Option<String>,
}

impl Outsider {
    pub fn new(endpoint: &str, bucket: &str) -> Self {
        Self::with_keys(endpoint, bucket, ACCESS_KEY, SECRET_KEY)
    }

    pub fn with_keys(endpoint: &str, bucket: &str, access: &str, secret: &str) -> Self {
        let keys = aws_credential_types::Credentials::new(access, secret, None, None, "tests");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .force_path_style(true)
            .credentials_provider(aws_sdk_s3::config::SharedCredentialsProvider::new(keys))
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Self {
            bucket: bucket.to_owned(),
            endpoint: endpoint.to_owned(),
            client: Client::from_conf(config),
            encodes: false,
            window: None,
        }
    }

    pub fn create_bucket(&self) {
        wait(self.client.create_bucket().bucket(&self.bucket).send()).unwrap();
    }

    /// Puts an object, and gives its ETag.
    pub fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) -> String {
        self.try_put(key, bytes).unwrap()
    }

    pub fn try_put(&self, key: &str, bytes: impl Into<Vec<u8>>) -> Result<String, String> {
        let body = ByteStream::from(bytes.into());
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(body);
        wait(put.send()).map(|done| done.e_tag.unwrap()).map_err(|error| format!("{error:?}"))
    }

    /// Puts an object with a CRC-32 (its big-endian bytes in base64), which the server may offer to readers.
    pub fn put_with_checksum(&self, key: &str, bytes: impl Into<Vec<u8>>, crc32: &str) {
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(bytes.into()));
        wait(put.checksum_crc32(crc32).send()).unwrap();
    }

    pub fn get(&self, key: &str) -> Option<Seen> {
        if let Some(window) = &self.window {
            return window.get(&self.bucket, key);
        }
        let get = self.client.get_object().bucket(&self.bucket).key(key);
        wait(async {
            match get.send().await {
                Ok(object) => Some(Seen {
                    etag: object.e_tag.unwrap(),
                    content_type: object.content_type,
                    // Not `to_vec`, which goes byte by byte.
                    bytes: object.body.collect().await.unwrap().into_bytes().to_vec(),
                }),
                Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => None,
                Err(error) => panic!("{key}: {error:?}"),
            }
        })
    }

    pub fn delete(&self, key: &str) {
        wait(self.client.delete_object().bucket(&self.bucket).key(key).send()).unwrap();
    }

    /// All keys that begin with `prefix`, in the server's order.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        if let Some(window) = &self.window {
            return window.keys(&self.bucket, prefix);
        }
        let mut keys = Vec::new();
        let mut token = None;
        loop {
            let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
            let list = list.set_encoding_type(self.encodes.then_some(EncodingType::Url));
            let page = wait(list.set_continuation_token(token).send()).unwrap();
            let encoded = page.encoding_type == Some(EncodingType::Url);
            let key = |key: String| if encoded { decoded(&key) } else { key };
            keys.extend(page.contents.unwrap_or_default().into_iter().map(|object| key(object.key.unwrap())));
            match page.next_continuation_token {
                Some(next) => token = Some(next),
                None => return keys,
            }
        }
    }
}

/// A key out of a listing: as in the query of a URL.
fn decoded(key: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).expect("two digits");
                u8::try_from(digit() * 16 + digit()).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}
