"""Turns hooks off: the checkout is only read, and what its owner has done beside that is not wanted."""


def _off(ui):
    for name, _ in list(ui.configitems(b'hooks')):
        ui.setconfig(b'hooks', name, b'', b'automation')


uisetup = _off


def reposetup(ui, repo):
    _off(repo.ui)
