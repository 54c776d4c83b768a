//! What ends something, or only looks, works on a disk without any room.

use support::mounts;
use support::tool::{Place, is_root, skip};

#[test]
fn machines_are_listed_used_and_ended_on_a_full_disk() {
    if !is_root() {
        return skip("an ordinary user's machine does not come up in a namespace that the user made");
    }
    let place = Place::small();
    let images = std::fs::read_link(place.state.join("images")).unwrap();
    let script = format!(
        r#"
        mount -t tmpfs -o size=24m,mode=0700 none "$S"
        ln -s '{}' "$S/images"
        fill() {{
            for size in 4096 1; do dd if=/dev/zero bs=$size count=8192 >>"$S/filler" 2>/dev/null || true; done
        }}
        id=$(a machine up)
        a machine exec "$id" -- dd if=/dev/zero of=/home/hg/big bs=1k count=64
        fill
        a machine list | grep -F "$id" | grep -w kept
        code=0; a machine up 2>said || code=$?
        cat said; test $code = 3; grep -F 'No space left' said; grep -F 'machine down' said
        a runs list | grep -F 'machine up'
        code=0; a audit --fix "$id" 2>said || code=$?
        cat said; test $code = 2; grep -F "machine down $id" said
        a machine exec "$id" -- rm -f /home/hg/big
        fill
        a machine down "$id" 2>said
        cat said; grep -F "Ended $id, nothing is left of it" said
        test ! -e "$S/machines/$id"
        rm "$S/filler"
        a audit
        id=$(a machine up)
        fill
        a uninstall --yes
        test ! -e "$S/layout"
        "#,
        images.display()
    );
    mounts::script(&place, &script).map(|done| done.expect(0));
}
