//! Reads the topics out of a consumer's subscription, the metadata that members of protocol type `consumer` send.
//!
//! Every version of `ConsumerProtocolSubscription` begins with the fields of version 0 (INT16 version, array of topic
//! names), so only those are read, as Kafka's coordinator does; what follows is not looked at.

use super::records::Reader;

/// The topics of one member; `None` when the bytes are not a subscription.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<String>> {
    let mut reader = Reader::new(metadata);
    let version = reader.i16().ok()?;
    if version < 0 {
        return None;
    }
    let count = usize::try_from(reader.i32().ok()?).ok()?;
    let mut topics = Vec::new();
    for _ in 0..count {
        topics.push(reader.string("subscription topic").ok()?.to_owned());
    }
    // User data: nullable bytes, which version 0 ends with.
    let user_data_bytes = reader.i32().ok()?;
    match usize::try_from(user_data_bytes) {
        Ok(length) => reader.skip(length).ok()?,
        Err(_) if user_data_bytes == -1 => {}
        Err(_) => return None,
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_every_version_are_read() {
        // Version 3 as the Java consumer sends it: topics t1, t2, null user data, no owned partitions, generation -1, no rack.
        let mut bytes = vec![0, 3, 0, 0, 0, 2, 0, 2, b't', b'1', 0, 2, b't', b'2'];
        bytes.extend([0xff; 4]);
        bytes.extend([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(topics(&bytes), Some(vec!["t1".to_owned(), "t2".to_owned()]));
    }

    #[test]
    fn what_is_no_subscription_is_none() {
        assert_eq!(topics(b""), None);
        assert_eq!(topics(b"any"), None);
        // An array that claims far more than there is.
        assert_eq!(topics(&[0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 1, b'a']), None);
        assert_eq!(topics(&[0, 0, 0, 0, 0, 1, 0, 1, b'a']), None, "user data is missing");
        assert_eq!(topics(&[0xff, 0xfe, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), None, "negative version");
    }
}
