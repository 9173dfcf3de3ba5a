# SPDX-License-Identifier: Apache-2.0
#
# NOT BUILT WITH BITBAKE by those who wrote it: they have no OpenEmbedded at hand. What was checked
# instead, in every run of the tests (tools/check-recipe.py):
#   - DEPENDS and PACKAGECONFIG are what meson says: each option of meson's has one row or one value
#     below, and a row asks for those libraries that meson looks for when it is on, and for no others;
#   - the files and checksums that are named here exist;
#   - FILES and SYSTEMD_SERVICE are what `meson install` installs, all of it and nothing else;
#   - the programs build for 32-bit ARM with all rows off but nbd-proxy, helper and daemon (the gate's
#     stage `cross`).
#
# It takes the place of jsnbd: docs/openbmc.md says how to use it.
SUMMARY = "Virtual media: hands a machine a USB drive whose image is somewhere else"
DESCRIPTION = "nbd-proxy for bmcweb, and platterd, which serves its own page and D-Bus"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

# The checkout that this file is in. Where it is copied into another layer, say SRC_URI there, and
# leave these two lines and the class out.
inherit externalsrc
EXTERNALSRC ?= "${@os.path.dirname(os.path.dirname(d.getVar('THISDIR')))}"

inherit meson pkgconfig systemd useradd

DEPENDS = "inih jansson libaio libuv openssl"

# What each is and needs is in docs/openbmc.md. nbd-proxy needs helper; web and dbus need daemon.
PACKAGECONFIG ??= "helper nbd-proxy"
PACKAGECONFIG[helper] = "-Dhelper=true,-Dhelper=false,libnl,"
PACKAGECONFIG[nbd-proxy] = "-Dnbd-proxy=true,-Dnbd-proxy=false,,"
PACKAGECONFIG[daemon] = "-Ddaemon=true,-Ddaemon=false,libwebsockets,libwebsockets-evlib-uv"
PACKAGECONFIG[web] = "-Dpage=true,-Dpage=false,,"
PACKAGECONFIG[dbus] = "-Ddbus=enabled,-Ddbus=disabled,systemd,"

EXTRA_OEMESON = "-Dtests=false -Dfuzz=false -Dsystemunitdir=${systemd_system_unitdir}"

# As with jsnbd, a machine's layer may name a file of its own.
NBD_PROXY_CONFIG_JSON ??= "${S}/packaging/nbd-proxy.json"

# npm has no place in this build: the page is the same for every machine, and made beforehand.
do_configure:prepend() {
    if ${@bb.utils.contains('PACKAGECONFIG', 'web', 'true', 'false', d)} &&
       [ ! -f ${S}/web/dist/index.html ]; then
        bbfatal "The page is not built: run npm --prefix ${S}/web ci, then npm --prefix ${S}/web run build."
    fi
}

do_install:append() {
    if ${@bb.utils.contains('PACKAGECONFIG', 'nbd-proxy', 'true', 'false', d)}; then
        install -d ${D}${sysconfdir}/nbd-proxy
        install -m 0644 ${NBD_PROXY_CONFIG_JSON} ${D}${sysconfdir}/nbd-proxy/config.json
    fi
    if ${@bb.utils.contains('PACKAGECONFIG', 'daemon', 'true', 'false', d)}; then
        install -d ${D}${sysconfdir}/platter
        install -m 0644 ${S}/packaging/platter.conf ${D}${sysconfdir}/platter/platter.conf
    fi
}

# platter: the daemon and the services. Empty, but there, where the daemon is not built.
PACKAGES =+ "${PN}-nbd-proxy ${PN}-helper ${PN}-web"
ALLOW_EMPTY:${PN} = "1"

FILES:${PN}-nbd-proxy = "${bindir}/nbd-proxy ${sysconfdir}/nbd-proxy/config.json"
FILES:${PN}-helper = "${sbindir}/platter-helper"
FILES:${PN}-web = "${datadir}/platter/www"
FILES:${PN} = " \
    ${sbindir}/platterd \
    ${sysconfdir}/platter/platter.conf \
    ${systemd_system_unitdir}/platterd.service \
    ${systemd_system_unitdir}/platter-helper.service \
    ${systemd_system_unitdir}/bmcweb.service.d/platter.conf \
    ${nonarch_libdir}/sysusers.d/platter.conf \
    ${nonarch_libdir}/tmpfiles.d/platter-dbus.conf \
    ${datadir}/dbus-1/system.d/xyz.openbmc_project.VirtualMedia.conf \
"
FILES:${PN}-doc = "${docdir}/platter"

CONFFILES:${PN}-nbd-proxy = "${sysconfdir}/nbd-proxy/config.json"
CONFFILES:${PN} = "${sysconfdir}/platter/platter.conf"

# nbd-proxy starts a helper of its own; platterd needs the service, and the page that it serves.
RDEPENDS:${PN}-nbd-proxy = "${PN}-helper"
RDEPENDS:${PN} = " \
    ${@bb.utils.contains('PACKAGECONFIG', 'helper', '${PN}-helper', '', d)} \
    ${@bb.utils.contains('PACKAGECONFIG', 'web', '${PN}-web', '', d)} \
"
RRECOMMENDS:${PN}-helper = " \
    kernel-module-libcomposite \
    kernel-module-nbd \
    kernel-module-usb-f-fs \
    kernel-module-usb-f-mass-storage \
"

PROVIDES += "jsnbd"
RPROVIDES:${PN}-nbd-proxy = "jsnbd"
RREPLACES:${PN}-nbd-proxy = "jsnbd"
RCONFLICTS:${PN}-nbd-proxy = "jsnbd"

SYSTEMD_PACKAGES = "${@bb.utils.contains('PACKAGECONFIG', 'daemon', '${PN}', '', d)}"
SYSTEMD_SERVICE:${PN} = " \
    platterd.service \
    ${@bb.utils.contains('PACKAGECONFIG', 'helper', 'platter-helper.service', '', d)} \
"

USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --no-create-home --home-dir / --shell /sbin/nologin --user-group platter"
