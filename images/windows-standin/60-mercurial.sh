#!/bin/bash
# Installs Mercurial into the Python by which the machine is worked on, of the wheel that Mercurial's project published, with what its
# packaging imports; and makes the repository `C:\hgdev\src`, from which nothing is ever published.
#
# All wheels of that release stay in `C:\standin\wheels`: they are what a build of it has to come to.
#
# Runs as root. Needs the network. Input: `as-hg.sh` and `fetch.py` beside this file. May be run again over its own result.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "60-mercurial: $*"; }
die() { printf '%s\n' "60-mercurial: $*" >&2; exit 1; }

here=$(dirname "$0")
readonly here drive=/srv/windows/drive_c index=https://files.pythonhosted.org/packages wait=600
readonly wheels=$drive/standin/wheels

as_hg() { sh "$here/as-hg.sh" "$wait" "$@"; }

say "fetching"
python3 "$here/fetch.py" "$wheels" <<END || die "cannot fetch the wheels"
489ce064c2237df53c2b0c6c24eebf172c3ca0582d2781d56542fd50a5103250 mercurial-7.2.4-cp39-cp39-win_amd64.whl $index/3d/f7/d8e847414ea49e759749d742db8fe1c619f7a10dcbe8ec0f44eb1d2f3a22/mercurial-7.2.4-cp39-cp39-win_amd64.whl
9908c28757f41304d0137de99a28427eca35e9131484a6431e5d25fd2b23772d mercurial-7.2.4-cp310-cp310-win_amd64.whl $index/dc/f9/0c1d4eec2cb903aa9afbc69deab614c48af9bb40238a8f1fd221674cfe0c/mercurial-7.2.4-cp310-cp310-win_amd64.whl
794e17795fbb17f70a76bc844ede4328b8660319b35d1bc6fbcfdbe761f4a5e9 mercurial-7.2.4-cp311-cp311-win_amd64.whl $index/52/70/4a14a48d85edf081a22f5d95fb1ac0b7b04abe8498c3703589ffeab87c1f/mercurial-7.2.4-cp311-cp311-win_amd64.whl
68d66b296da018fa14b06eda60c4d8570d29186328612296ad3a1fe043208df0 mercurial-7.2.4-cp312-cp312-win_amd64.whl $index/f8/65/d0ca4958ae4ec12f996cbe3d6209767ea90cddebfd393553f44e40b9b469/mercurial-7.2.4-cp312-cp312-win_amd64.whl
fb19f5232c4938abc6147dd826c10c4ea28a081771d92fbcaebc2678b8620793 mercurial-7.2.4-cp313-cp313-win_amd64.whl $index/06/80/268d8a0750bd7683d4405ed0082896361eee180b016e1aaaf49ae5e416e3/mercurial-7.2.4-cp313-cp313-win_amd64.whl
b890d759fb1a13df7a2a7e1e7e277b73ec67100181593e74e1dabdae12bac35f mercurial-7.2.4-cp39-cp39-win32.whl $index/54/c2/c45ff893b4a6cb3599863d68d7bfe08b5485ffd20200781eff9985e76cc4/mercurial-7.2.4-cp39-cp39-win32.whl
9532ade42ea126e1a9c8032bfba80480fc8a9072ab399758649ef56f0fd2ecf7 mercurial-7.2.4-cp310-cp310-win32.whl $index/45/1c/3419915a301cfa7778b2950b9ddde6e3ef0678bada32c327d1783e03c6d4/mercurial-7.2.4-cp310-cp310-win32.whl
d52e1e15029f3172cc215e067a4511a6e62a2895460a346124a47e570a774dae mercurial-7.2.4-cp311-cp311-win32.whl $index/8e/54/299d5f0934c80a02317d65389ce16e2ac783b18a255bc02f980064f1ed70/mercurial-7.2.4-cp311-cp311-win32.whl
2f0d14b15a03eaa7142bfc90bb64c9151824d59650164f8c109a909db7931d7e mercurial-7.2.4-cp311-cp311-win_arm64.whl $index/a4/2a/eff146e086bf6606450bc4d8081b975af4b60dc2f50414e12173ab624965/mercurial-7.2.4-cp311-cp311-win_arm64.whl
9cba7fd43a1a2143acd6dcce129d9bc6d8af85216979dfb7468c7e881719a26c mercurial-7.2.4-cp312-cp312-win32.whl $index/87/85/d36b6d52eb4afec33847683e3f4b9f64039ffba67abb68b68bf3c10c7ea0/mercurial-7.2.4-cp312-cp312-win32.whl
cab9afdaf0305b33b1f9af7449dae88f005c14ea087b97ad82758588213dfbff mercurial-7.2.4-cp312-cp312-win_arm64.whl $index/83/43/1e4631fd9004f115857003a8ff5cb20533591822d33c354825b804283c88/mercurial-7.2.4-cp312-cp312-win_arm64.whl
d1e5802696dab0bf68da08fec5863f512dac4bf7b599ed598e4a1e8057d04a61 mercurial-7.2.4-cp313-cp313-win32.whl $index/59/fe/dffc17323110bbd4d3e286ed8278b0b87698499dad04d3531e49472fb504/mercurial-7.2.4-cp313-cp313-win32.whl
b58d7a651c61eb3d6c2130f631261202c22808a3c9ba674c108a1a03ef108ff9 mercurial-7.2.4-cp313-cp313-win_arm64.whl $index/cc/4c/f91bbc7a219cc7f3ea3ca65fe33157a7d46ee138a02afc19e4e89a3e5cf2/mercurial-7.2.4-cp313-cp313-win_arm64.whl
58f452398c1698466d4aaa1103a423d0ae4a740bd303e2f2b39ae03167a41aa6 mercurial-7.2.4-cp314-cp314-win32.whl $index/45/e0/1e819279e0c0e294ed30279bdae1744c6c9dc407588143882974fc8d16a5/mercurial-7.2.4-cp314-cp314-win32.whl
a62f5c3cb987e4dca8167804685a80425fb1ad275afb25de2076600b4647ab80 mercurial-7.2.4-cp314-cp314-win_amd64.whl $index/91/5e/175602e135298797827b39300dec2d229959d2dea913a9f78de29f133d3d/mercurial-7.2.4-cp314-cp314-win_amd64.whl
71886fab24aa4a56d54657c28a3bc14d751d8021a374ff3b7cfa98635633791b mercurial-7.2.4-cp314-cp314-win_arm64.whl $index/e4/da/b8eb2ff108d7043fe9abe86a859acd8324aad3918c5c79b36dfd56aad1c8/mercurial-7.2.4-cp314-cp314-win_arm64.whl
85ece4451f492d0c13c5dd7c13a64681a86afae63a5f347908daf103ce6d2f67 jinja2-3.1.6-py3-none-any.whl $index/62/a1/3d680cbfd5f4b8f15abc1d571870c5fc3e594bb582bc3b64ea099db13e56/jinja2-3.1.6-py3-none-any.whl
9a1abfdc021a164803f4d485104931fb8f8c1efd55bc6b748d2f5774e78b62c5 markupsafe-3.0.3-cp313-cp313-win_amd64.whl $index/05/73/c4abe620b841b6b791f2edc248f556900667a5a1cf023a6646967ae98335/markupsafe-3.0.3-cp313-cp313-win_amd64.whl
d0013f540772d1420576855455d050a2180186c91c15779301ac2ccb3eeb68de docutils-0.22.4-py3-none-any.whl $index/02/10/5da547df7a391dcde17f59520a231527b8571e6f46fc8efb02ccb370ab12/docutils-0.22.4-py3-none-any.whl
062d34222ad13e0cc312a4c02d73f059e86a4acbfbdea8f8f76b28c99f306922 setuptools-80.9.0-py3-none-any.whl $index/a3/dc/17031897dae0efacfea57dfd3a82fdd2a2aeb58e0ff71b77b87e44edc772/setuptools-80.9.0-py3-none-any.whl
708e7481cc80179af0e556bbf0cc00b8444c7321e2700b8d8580231d13017248 wheel-0.45.1-py3-none-any.whl $index/0b/2c/87f3254fd8ffd29e4c02732eee68a83a1d3c346ae39bc6822dcbcb697f2b/wheel-0.45.1-py3-none-any.whl
29572ef2b1f17581046b3a2227d5c611fb25ec70ca1ba8554b24b0e69331a484 packaging-25.0-py3-none-any.whl $index/20/12/38679034af332785aac8774540895e234f4d07f7545804097de4b666afd8/packaging-25.0-py3-none-any.whl
END
chown -R hg:hg "$wheels"

say "installing Mercurial"
cd /
as_hg wine 'C:\hgdev\python\python.exe' -m pip --quiet --no-cache-dir install --no-index --no-deps --no-warn-script-location \
    --find-links 'C:\standin\wheels' mercurial==7.2.4 jinja2 markupsafe docutils setuptools wheel packaging \
    || die "cannot install the wheels"
# A machine is made anew for each piece of work: what is compiled now is not compiled at every first start.
as_hg wine 'C:\hgdev\python\python.exe' -m compileall -q 'C:\hgdev\python\Lib' >/dev/null || say "some modules cannot be compiled"
version=$(as_hg wine 'C:\hgdev\python\Scripts\hg.exe' version --quiet) || die "\`hg.exe\` does not run"
[[ $version == *7.2.4* ]] || die "\`hg.exe\` says that it is $version"

say "making C:\\hgdev\\src"
if ! [[ -d $drive/hgdev/src/.hg ]]; then
    as_hg wine 'C:\hgdev\python\Scripts\hg.exe' init 'C:\hgdev\src' || die "cannot make the repository"
fi
printf '[phases]\npublish = False\n' >"$drive/hgdev/src/.hg/hgrc"
chown hg:hg "$drive/hgdev/src/.hg/hgrc"
as_hg wineserver --wait || die "the programs of Windows do not end"
