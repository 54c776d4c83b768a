#!/bin/sh
# Makes a local machine look like an instance that has just booted from its distribution's image.
#
#   prepare.sh USER METADATA <PUBLIC-KEY      the image's login user; where its metadata service is; the key that cloud-init would
#                                             install, may be empty
#
# Runs as root, before the user data.
set -eu

user=$1 metadata=$2
say() { printf 'emulator: %s\n' "$*"; }

# The emulator reads two pipes: the console, and the signal that the instance wants to switch off.
mkdir -p /run/emulator
rm -f /dev/console /run/emulator/power
mkfifo -m 622 /dev/console
mkfifo -m 600 /run/emulator/power

# The machine has no kernel of its own to switch off.
for name in poweroff shutdown halt; do
    rm -f "/usr/sbin/$name" "/sbin/$name"
    printf '#!/bin/sh\necho off >/run/emulator/power\n' >"/usr/sbin/$name"
    chmod 755 "/usr/sbin/$name"
done

if ! getent passwd "$user" >/dev/null; then
    useradd --create-home --shell /bin/bash "$user"
fi
usermod --password '*' "$user"
printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$user" >/etc/sudoers.d/90-cloud-init-users
chmod 440 /etc/sudoers.d/90-cloud-init-users
home=$(getent passwd "$user" | cut -d: -f6)
install -d -m 700 -o "$user" -g "$user" "$home/.ssh"
key=$(cat)
if [ -n "$key" ]; then
    printf '%s\n' "$key" >"$home/.ssh/authorized_keys"
    chmod 600 "$home/.ssh/authorized_keys"
    chown "$user" "$home/.ssh/authorized_keys"
fi

# The machine's rights are not enough for the modules of PAM. If a setting occurs twice, sshd takes the first.
mkdir -p /etc/ssh/sshd_config.d
printf 'UsePAM no\nSetEnv AWS_EC2_METADATA_SERVICE_ENDPOINT=%s\n' "$metadata" >/etc/ssh/sshd_config.d/01-emulator.conf
grep -q '^Include /etc/ssh/sshd_config.d/' /etc/ssh/sshd_config ||
    sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config
ssh-keygen -A >/dev/null
# The second disk gets the name that it has on an instance of a current type.
if [ -b /dev/hg-volume ]; then ln -sfn hg-volume /dev/nvme1n1; fi
say "$user can log in"
