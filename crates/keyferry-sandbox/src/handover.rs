//! How a sandbox gets the library that it is to load: as a descriptor of a sealed copy, ahead of the first frame.

use std::io;
use std::os::unix::net::UnixStream;

#[cfg(target_os = "linux")]
use crate::library::Place;

/// Hands a copy over.
#[cfg(target_os = "linux")]
pub(crate) fn give(socket: &UnixStream, place: &Place) -> io::Result<()> {
    use std::mem::MaybeUninit;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    let descriptors = [place.descriptor()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let data = [io::IoSlice::new(&MARK)];
    sendmsg(socket, &data, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes what [`give`] handed over; none when it is not a sealed copy. The socket's end is an error.
#[cfg(target_os = "linux")]
pub(crate) fn take(socket: &UnixStream) -> io::Result<Option<Place>> {
    use std::mem::MaybeUninit;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    let mut mark = [0; MARK.len()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut data = [io::IoSliceMut::new(&mut mark)];
    let received = recvmsg(socket, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(descriptor.filter(|_| mark == MARK).and_then(Place::received))
}

#[cfg(target_os = "linux")]
const MARK: [u8; 1] = *b"L";
