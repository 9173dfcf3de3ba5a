/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: what good lines mean, and the one sentence that each bad line gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config-parse.h"

#define SLOT "[slot 0]\nexport=unix\n"
#define USB  "[slot 0]\nexport=usb\n"

static int parse(const char *text, struct config *config, char *error, size_t room)
{
    error[0] = '\0';
    return config_parse(text, strlen(text), "p.conf", false, config, error, room);
}

static void must_parse(const char *text, struct config *config)
{
    char error[512];
    int r = parse(text, config, error, sizeof error);

    if (r != 0)
        fail_msg("refused: %s", error);
}

static void test_defaults(void **state)
{
    struct config c;

    (void)state;
    must_parse(SLOT, &c);
    assert_int_equal(c.listen_count, 2);
    assert_string_equal(c.listen[0].host, "127.0.0.1");
    assert_int_equal(c.listen[0].port, 8080);
    assert_string_equal(c.listen[1].host, "::1");
    assert_false(c.insecure_no_login);
    assert_string_equal(c.runtime_dir, "/run/platter");
    assert_string_equal(c.helper_user, "platter");
    assert_int_equal(c.slot_count, 1);
    assert_string_equal(c.slots[0].name, "Drive 1");
    assert_string_equal(c.slots[0].socket_path, "/run/platter/slot-0.sock");
    assert_string_equal(c.slots[0].nbd, "auto");
    assert_string_equal(c.slots[0].udc, "auto");
    assert_int_equal(c.restart_grace, 10);
    assert_int_equal(c.slots[0].grace, 60);
    assert_int_equal(c.slots[0].keep, 3600);
    assert_int_equal(c.slots[0].cache, 32);
    must_parse("[slot 0]\nexport=kernel\n", &c);
    assert_int_equal(c.slots[0].grace, 25);
    must_parse("[slot 0]\ngrace=25\nkeep=604800\ncache=1024\nexport=kernel\n"
               "[slot 1]\ngrace=3600\nkeep=0\ncache=4\nexport=unix\n",
               &c);
    assert_int_equal(c.slots[0].grace, 25);
    assert_int_equal(c.slots[0].keep, 604800);
    assert_int_equal(c.slots[0].cache, 1024);
    assert_int_equal(c.slots[1].grace, 3600);
    assert_int_equal(c.slots[1].keep, 0);
    assert_int_equal(c.slots[1].cache, 4);
    must_parse(SLOT "[daemon]\npage = none\n", &c);
    assert_string_equal(c.page_dir, "");
}

static void test_everything(void **state)
{
    struct config c;

    (void)state;
    must_parse("\xef\xbb\xbf# a comment\r\n"
               "[slot 1]\r\n"
               "  name = L\xc3\xa4ngste Platte ; a comment\r\n"
               "export = kernel\r\nnbd = nbd12\r\nudc = dummy_udc.0\r\n"
               "[daemon]\n"
               "listen = 0.0.0.0:0 , [fe80::1]:443\n"
               "insecure_no_login = yes\n"
               "host_names = bmc, bmc.example.org\n"
               "page = /srv/page\nruntime_dir = /tmp/r\n"
               "[helper]\nsocket = /tmp/h.sock\nstate_dir = /tmp/h\nuser = 1000\n"
               "restart_grace = 20\n"
               "[slot 0]\nexport = unix\nsocket = /tmp/s0",
               &c);
    assert_int_equal(c.slot_count, 2);
    assert_string_equal(c.slots[1].name, "L\xc3\xa4ngste Platte");
    assert_string_equal(c.slots[1].nbd, "nbd12");
    assert_string_equal(c.slots[1].udc, "dummy_udc.0");
    assert_string_equal(c.slots[0].socket_path, "/tmp/s0");
    assert_string_equal(c.slots[1].socket_path, "/tmp/r/slot-1.sock");
    assert_int_equal(c.listen_count, 2);
    assert_string_equal(c.listen[0].host, "0.0.0.0");
    assert_int_equal(c.listen[0].port, 0);
    assert_string_equal(c.listen[1].host, "fe80::1");
    assert_int_equal(c.listen[1].port, 443);
    assert_true(c.insecure_no_login);
    assert_int_equal(c.host_name_count, 2);
    assert_string_equal(c.host_names[1], "bmc.example.org");
    assert_string_equal(c.page_dir, "/srv/page");
    assert_string_equal(c.helper_socket, "/tmp/h.sock");
    assert_string_equal(c.helper_state_dir, "/tmp/h");
    assert_string_equal(c.helper_user, "1000");
    assert_int_equal(c.restart_grace, 20);
}

static void test_usb(void **state)
{
    struct config c;

    (void)state;
    must_parse(USB, &c);
    assert_int_equal(c.slots[0].grace, 170);
    assert_false(c.slots[0].plugged_always);
    assert_int_equal(c.slots[0].drive, CONFIG_DRIVE_AUTO);
    assert_false(c.slots[0].write_back);
    assert_string_equal(c.slots[0].vendor, "Platter");
    assert_string_equal(c.slots[0].product, "");
    assert_string_equal(c.slots[0].serial, "504C415454455200");
    must_parse(USB "usb_device = rack\nplugged = always\ndrive = disk\nwrite = back\n"
                   "vendor = A B\nproduct = Sixteen letters!\nserial = S-1\ngrace = 3600\n"
                   "[slot 1]\nexport=kernel\n"
                   "[slot 2]\nexport=usb\nusb_device=rack\nplugged=always\ndrive=cd\n"
                   "[slot 3]\nexport=usb\nusb_device=other\nudc=a\n"
                   "[slot 4]\nexport=unix\nusb_device=rack\ndrive=cd\nudc=a\n",
               &c);
    assert_string_equal(c.slots[0].usb_device, "rack");
    assert_true(c.slots[0].plugged_always);
    assert_int_equal(c.slots[0].drive, CONFIG_DRIVE_DISK);
    assert_true(c.slots[0].write_back);
    assert_string_equal(c.slots[0].vendor, "A B");
    assert_string_equal(c.slots[0].product, "Sixteen letters!");
    assert_string_equal(c.slots[0].serial, "S-1");
    assert_int_equal(c.slots[0].grace, 3600);
    assert_int_equal(c.slots[2].drive, CONFIG_DRIVE_CD);
    assert_string_equal(c.slots[2].serial, "504C415454455202");
    assert_int_equal(c.slots[4].drive, CONFIG_DRIVE_AUTO);
    for (unsigned i = 0; i < c.slot_count; i++)
        assert_int_equal(config_usb_first(&c, i), i == 2 ? 0 : i);
}

static void test_dbus(void **state)
{
    struct config c;

    (void)state;
    must_parse(SLOT "[slot 1]\nexport=unix\n", &c);
    assert_false(c.dbus_enabled);
    assert_string_equal(c.dbus_bus, "system");
    assert_int_equal(c.dbus_inactivity, 1800);
    assert_string_equal(c.slots[0].dbus_socket, "/run/virtual-media/nbd0.sock");
    assert_string_equal(c.slots[1].dbus_socket, "/run/virtual-media/nbd1.sock");
    must_parse("[dbus]\nenabled = yes\nbus = unix:path=/tmp/bus\ninactivity_timeout = 0\n" SLOT
               "dbus_socket = /tmp/media\n",
               &c);
    assert_true(c.dbus_enabled);
    assert_string_equal(c.dbus_bus, "unix:path=/tmp/bus");
    assert_int_equal(c.dbus_inactivity, 0);
    assert_string_equal(c.slots[0].dbus_socket, "/tmp/media");
}

static void test_kernel(void **state)
{
    struct config c;

    (void)state;
    must_parse("[slot 0]\nexport=kernel\n", &c);
    assert_true(c.slots[0].gadget);
    assert_true(config_is_usb_drive(&c.slots[0]));
    assert_int_equal(c.slots[0].usb_id.vendor, 0x1d6b);
    assert_int_equal(c.slots[0].usb_id.product, 0x0104);
    assert_string_equal(c.slots[0].vendor, "Platter");
    assert_string_equal(c.slots[0].product, "");
    assert_string_equal(c.slots[0].serial, "504C415454455200");
    /* What has no gadget around it has no controller and no serial number to share. */
    must_parse("[slot 0]\nexport=kernel\nudc=a\nserial=S\nusb_id=0000:aBcD\n"
               "[slot 1]\nexport=kernel\ngadget=no\nudc=a\nserial=S\n"
               "[slot 2]\nexport=kernel\ngadget=yes\nudc=b\nvendor=Acme\nproduct=Tray\n"
               "[slot 3]\nexport=usb\ngadget=no\nusb_id=FFFF:0000\n"
               "[slot 4]\nexport=unix\ngadget=yes\n",
               &c);
    assert_int_equal(c.slots[0].usb_id.vendor, 0);
    assert_int_equal(c.slots[0].usb_id.product, 0xabcd);
    assert_false(config_is_usb_drive(&c.slots[1]));
    assert_true(config_is_usb_drive(&c.slots[2]));
    assert_string_equal(c.slots[2].vendor, "Acme");
    assert_string_equal(c.slots[2].product, "Tray");
    assert_true(config_is_usb_drive(&c.slots[3]));
    assert_int_equal(c.slots[3].usb_id.vendor, 0xffff);
    assert_int_equal(c.slots[3].usb_id.product, 0);
    assert_false(config_is_usb_drive(&c.slots[4]));
}

/* What a slot that does not say its export gets, by what the kernel has. */
static void test_auto(void **state)
{
    static const char text[] = "[slot 0]\n[slot 1]\nexport=auto\n[slot 2]\nexport=kernel\n";
    static const char long_grace[] = "[slot 0]\ngrace=26\n";
    struct config c;
    char error[256];

    (void)state;
    for (int functionfs = 0; functionfs < 2; functionfs++) {
        const char *name = functionfs ? "usb" : "kernel";

        assert_int_equal(
            config_parse(text, strlen(text), "p.conf", functionfs, &c, error, sizeof error), 0);
        assert_string_equal(c.slots[0].export_name, name);
        assert_string_equal(c.slots[1].export_name, name);
        assert_string_equal(c.slots[2].export_name, "kernel");
        assert_true(c.slots[0].export_auto && c.slots[1].export_auto);
        assert_false(c.slots[2].export_auto);
        assert_int_equal(c.slots[0].grace, functionfs ? 170 : 25);
    }
    assert_int_equal(
        config_parse(long_grace, strlen(long_grace), "p.conf", true, &c, error, sizeof error), 0);
    assert_int_equal(
        config_parse(long_grace, strlen(long_grace), "p.conf", false, &c, error, sizeof error),
        -EINVAL);
    assert_non_null(strstr(error, "with the export kernel (auto, on this machine) 25 seconds"));
}

#define TEN     "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

/* Where the sentence says it is, and a phrase that must be in it. */
static const struct bad {
    const char *text, *where, *phrase;
} bad[] = {
    {"", "p.conf: ", "there is no slot"},
    {"[daemon]\n", "p.conf: ", "there is no slot"},
    {SLOT "[bogus]\n", "p.conf:3: ", "unknown section [bogus]"},
    {SLOT "[slot]\n", "p.conf:3: ", "unknown section [slot]"},
    {SLOT "[slot 01]\n", "p.conf:3: ", "unknown section [slot 01]"},
    {SLOT "[slot -1]\n", "p.conf:3: ", "unknown section"},
    {SLOT "[slot 99999999999999999999]\n", "p.conf:3: ", "unknown section"},
    {SLOT "[slot 16]\n", "p.conf:3: ", "16 slots at most"},
    {SLOT "[" HUNDRED "]\n", "p.conf:3: ", "unknown section"},
    {SLOT "[daemon\n", "p.conf:3: ", "close it with a ]"},
    {SLOT "[daemon]\n[helper]\n[daemon]\n", "p.conf:5: ", "second time (first at line 3)"},
    {SLOT SLOT, "p.conf:3: ", "second time"},
    {"\n\nlisten=127.0.0.1:1\n" SLOT, "p.conf:3: ", "before the first section"},
    {SLOT "[daemon]\nlisen=127.0.0.1:1\n", "p.conf:4: ",
     "unknown key \"lisen\" in [daemon]; the keys there are: listen, insecure_no_login"},
    {SLOT "listen=127.0.0.1:1\n", "p.conf:3: ", "unknown key \"listen\" in [slot 0]"},
    {SLOT "export=kernel\n", "p.conf:3: ", "export is here a second time in [slot 0]"},
    {SLOT "[helper]\nuser=a\nuser=b\n", "p.conf:5: ", "user is here a second time in [helper]"},
    {SLOT "word\n", "p.conf:3: ", "neither a [section] nor a key = value"},
    {"word\n[bogus]\n", "p.conf:1: ", "neither"},
    {SLOT "name=\n", "p.conf:3: ", "name has no value"},
    {SLOT "name = first\n  second\n", "p.conf:4: ", "neither"},
    {"[slot 0]\nexport=scsi\n", "p.conf:2: ", "\"scsi\"; say auto, usb, kernel or unix"},
    {SLOT "[slot 2]\nexport=unix\n", "p.conf:3: ", "a [slot 2] but no [slot 1]"},
    {"[slot 1]\nexport=unix\n", "p.conf:1: ", "a [slot 1] but no [slot 0]"},
    {SLOT "socket=x.sock\n", "p.conf:3: ", "begin it with a /"},
    {SLOT "socket=/" HUNDRED "1234567\n", "p.conf:3: ", "108 bytes long; 107 is the most"},
    {SLOT "[daemon]\nruntime_dir=/" HUNDRED "\n", "p.conf:4: ", "101 bytes long; 63 is the most"},
    {SLOT "[daemon]\npage=/" HUNDRED HUNDRED "\n", "p.conf:4: ", "longer than"},
    {SLOT "[daemon]\npage=/\xff\n", "p.conf:4: ", "not UTF-8"},
    {SLOT "name=" HUNDRED "\n", "p.conf:3: ", "100 bytes long; 63 is the most"},
    {SLOT "name=\xc3\x28\n", "p.conf:3: ", "not UTF-8"},
    {SLOT "name=a\tb\n", "p.conf:3: ", "not UTF-8"},
    {SLOT "nbd=nbd\n", "p.conf:3: ", "say auto, or a device as nbd0"},
    {SLOT "nbd=/dev/nbd0\n", "p.conf:3: ", "nbd is \"/dev/nbd0\""},
    {SLOT "nbd=nbd01\n", "p.conf:3: ", "nbd is"},
    {SLOT "nbd=nbd1234\n", "p.conf:3: ", "nbd is"},
    {SLOT "nbd=x\n", "p.conf:3: ", "nbd is"},
    {SLOT "udc=../../etc\n", "p.conf:3: ", "udc is"},
    {SLOT "[slot 1]\nexport=unix\nsocket=/run/platter/slot-0.sock\n", "p.conf:3: ", "same socket"},
    {"[slot 0]\nexport=kernel\nnbd=nbd0\n[slot 1]\nexport=kernel\nnbd=nbd0\n",
     "p.conf:4: ", "same nbd device as [slot 0]"},
    {"[slot 0]\nexport=kernel\nudc=a\n[slot 1]\nexport=kernel\nudc=a\n",
     "p.conf:4: ", "same USB device controller"},
    {USB "udc=a\n[slot 1]\nexport=kernel\nudc=a\n", "p.conf:4: ", "same USB device controller"},
    {USB "serial=A\n[slot 1]\nexport=usb\nserial=A\n", "p.conf:4: ", "same serial number as"},
    {USB "serial=A\n[slot 1]\nexport=kernel\nserial=A\n", "p.conf:4: ", "same serial number as"},
    {"[slot 0]\nexport=kernel\nserial=A\n[slot 1]\nexport=kernel\nserial=A\n",
     "p.conf:4: ", "same serial number as [slot 0]"},
    {"[slot 0]\nexport=kernel\ngadget=no\nnbd=nbd0\n[slot 1]\nexport=kernel\nnbd=nbd0\n",
     "p.conf:5: ", "same nbd device as [slot 0]"},
    {"[slot 0]\nexport=kernel\ngadget=none\n", "p.conf:3: ", "gadget is \"none\"; say yes or no"},
    {USB "usb_id=1d6b0104\n",
     "p.conf:3: ", "usb_id is \"1d6b0104\"; say vendor and product, four hexadecimal digits each"},
    {USB "usb_id=1d6b:104\n", "p.conf:3: ", "usb_id is \"1d6b:104\""},
    {USB "usb_id=1d6b:01040\n", "p.conf:3: ", "usb_id is"},
    {USB "usb_id=1d6b:010g\n", "p.conf:3: ", "usb_id is"},
    {USB "usb_id=0x1d:0104\n", "p.conf:3: ", "usb_id is"},
    {USB "usb_id=1d6b:-104\n", "p.conf:3: ", "usb_id is"},
    {USB "usb_id=1d6b-0104\n", "p.conf:3: ", "as 1d6b:0104."},
    {USB "usb_device=u\ndrive=cd\n"
         "[slot 1]\nexport=usb\nusb_device=u\ndrive=cd\nusb_id=1d6b:0105\n",
     "p.conf:5: ", "but differ in usb_id; say the same in both"},
    {USB "usb_device=a b\n", "p.conf:3: ", "usb_device is \"a b\"; say a name of at most 31"},
    {USB "usb_device=" TEN TEN TEN TEN "\n", "p.conf:3: ", "at most 31 letters"},
    {USB "plugged=yes\n", "p.conf:3: ", "plugged is \"yes\"; say session or always"},
    {USB "drive=dvd\n", "p.conf:3: ", "drive is \"dvd\"; say auto, disk or cd"},
    {USB "write=no\n", "p.conf:3: ", "write is \"no\"; say through or back"},
    {USB "vendor=" TEN "\n", "p.conf:3: ", "say at most 8 printable ASCII"},
    {USB "vendor=caf\xc3\xa9\n", "p.conf:3: ", "printable ASCII"},
    {USB "product=" TEN TEN "\n", "p.conf:3: ", "say at most 16 printable ASCII"},
    {USB "product=a\tb\n", "p.conf:3: ", "printable ASCII"},
    {USB "serial=" TEN TEN TEN TEN "\n", "p.conf:3: ", "at most 32 letters"},
    {USB "serial=a,b\n", "p.conf:3: ", "serial is \"a,b\""},
    {USB "plugged=always\n", "p.conf:1: ", "which it must with plugged = always; add drive ="},
    {USB "usb_device=u\n[slot 1]\nexport=usb\nusb_device=u\ndrive=cd\n",
     "p.conf:1: ", "[slot 0] does not say what its drive is, which it must as it shares its USB"},
    {USB "usb_device=u\ndrive=cd\n[slot 1]\nexport=usb\nusb_device=u\n",
     "p.conf:5: ", "[slot 1] does not say"},
    {USB "usb_device=u\ndrive=cd\n[slot 1]\nexport=usb\nusb_device=u\ndrive=cd\nudc=a\n",
     "p.conf:5: ", "are drives of one USB device, u, but differ in udc"},
    {USB "usb_device=u\ndrive=cd\nplugged=always\n"
         "[slot 1]\nexport=usb\nusb_device=u\ndrive=cd\n",
     "p.conf:6: ", "but differ in plugged; say the same in both"},
    {SLOT "[daemon]\nlisten=localhost:80\n", "p.conf:4: ", "\"localhost:80\" is not an address"},
    {SLOT "[daemon]\nlisten=127.0.0.1\n", "p.conf:4: ", "is not an address"},
    {SLOT "[daemon]\nlisten=127.0.0.1:\n", "p.conf:4: ", "is not an address"},
    {SLOT "[daemon]\nlisten=127.0.0.1:65536\n", "p.conf:4: ", "is not an address"},
    {SLOT "[daemon]\nlisten=127.0.0.1:-1\n", "p.conf:4: ", "is not an address"},
    {SLOT "[daemon]\nlisten=::1:80\n", "p.conf:4: ", "is not an address"},
    {SLOT "[daemon]\nlisten=[::1:80\n", "p.conf:4: ", "is not an address"},
    {SLOT "[daemon]\nlisten=[127.0.0.1]:80\n", "p.conf:4: ", "is not an address"},
    {SLOT "[daemon]\nlisten=[]:80\n", "p.conf:4: ", "is not an address"},
    {SLOT "[daemon]\nlisten=[:80\n", "p.conf:4: ", "is not an address"},
    {SLOT "[daemon]\nlisten=127.0.0.1:80,\n", "p.conf:4: ", "\"\" is not an address"},
    {SLOT "[daemon]\nlisten=127.0.0.1:80, 127.0.0.1:80\n", "p.conf:4: ", "twice"},
    {SLOT "[daemon]\nlisten=127.0.0.1:1,127.0.0.1:2,127.0.0.1:3,127.0.0.1:4,127.0.0.1:5,"
          "127.0.0.1:6,127.0.0.1:7,127.0.0.1:8,127.0.0.1:9\n",
     "p.conf:4: ", "more than 8 addresses"},
    {SLOT "[daemon]\n\nlisten=0.0.0.0:80\n", "p.conf:5: ", "say insecure_no_login = yes"},
    {SLOT "[daemon]\nlisten=127.0.0.1:80, [::]:80\n", "p.conf:4: ", ":: can be reached"},
    {SLOT "[daemon]\nlisten=[::ffff:10.0.0.1]:80\n", "p.conf:4: ", "insecure_no_login"},
    {SLOT "[daemon]\ninsecure_no_login=true\n", "p.conf:4: ", "\"true\"; say yes or no"},
    {SLOT "[daemon]\nhost_names=http://bmc\n", "p.conf:4: ", "\"http://bmc\" is not a host name"},
    {SLOT "[daemon]\nhost_names=a,,b\n", "p.conf:4: ", "\"\" is not a host name"},
    {SLOT "[daemon]\nhost_names=a,b,c,d,e,f,g,h,i\n", "p.conf:4: ", "more than 8 names"},
    {SLOT "[helper]\nrestart_grace=-1\n", "p.conf:4: ", "number of seconds, 0 to 20."},
    {SLOT "[helper]\nrestart_grace=21\n", "p.conf:4: ", "\"21\"; say a number of seconds, 0 to"},
    {SLOT "[helper]\nrestart_grace=99999999999\n", "p.conf:4: ", "0 to 20"},
    {SLOT "[helper]\nrestart_grace=4294967296\n", "p.conf:4: ", "0 to 20"},
    {SLOT "grace=0\n", "p.conf:3: ", "grace is \"0\"; say a number of seconds, 1 to 3600."},
    {SLOT "grace=3601\n", "p.conf:3: ", "seconds, 1 to 3600."},
    {SLOT "grace=1s\n", "p.conf:3: ", "seconds, 1 to 3600."},
    {SLOT "grace=1\ngrace=2\n", "p.conf:4: ", "grace is here a second time in [slot 0]"},
    {"[slot 0]\ngrace=26\nexport=kernel\n", "p.conf:2: ", "25 seconds is the most"},
    {SLOT "keep=604801\n",
     "p.conf:3: ", "keep is \"604801\"; say a number of seconds, 0 to 604800."},
    {SLOT "keep=-0\n", "p.conf:3: ", "keep is \"-0\""},
    {SLOT "cache=3\n", "p.conf:3: ", "cache is \"3\"; say a number of MiB, 4 to 1024."},
    {SLOT "cache=1025\n", "p.conf:3: ", "4 to 1024"},
    {SLOT "cache=32M\n", "p.conf:3: ", "cache is \"32M\""},
    {SLOT "[dbus]\nenabled=1\n", "p.conf:4: ", "enabled is \"1\"; say yes or no"},
    {SLOT "[dbus]\nbus=session\n", "p.conf:4: ", "bus is \"session\"; say system, or an address"},
    {SLOT "[dbus]\nbus=unix:path=" HUNDRED HUNDRED "\n", "p.conf:4: ", "shorten it"},
    {SLOT "[dbus]\ninactivity_timeout=604801\n",
     "p.conf:4: ", "inactivity_timeout is \"604801\"; say a number of seconds, 0 to 604800."},
    {SLOT "[dbus]\nsocket=/tmp/x\n",
     "p.conf:4: ", "in [dbus]; the keys there are: enabled, bus, inactivity_timeout."},
    {SLOT "[dbus]\nbus=a:\nbus=b:\n", "p.conf:5: ", "bus is here a second time in [dbus]"},
    {SLOT "dbus_socket=media\n", "p.conf:3: ", "dbus_socket must be a whole path"},
    {SLOT "dbus_socket=/tmp/x\n[slot 1]\nexport=kernel\ndbus_socket=/tmp/x\n",
     "p.conf:4: ", "[slot 1] has the same dbus_socket as [slot 0]; give each its own."},
    {SLOT "[helper]\nuser=a b\n", "p.conf:4: ", "the name or the number of a user"},
    {SLOT "\x1b[31m=1\n", "p.conf:3: ", "unknown key \"?[31m\""},
    {SLOT "name=" HUNDRED HUNDRED HUNDRED "\n", "p.conf:3: ", "shorten it"},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct config c;
        char error[512];
        int r = parse(bad[i].text, &c, error, sizeof error);

        if (r != -EINVAL || strncmp(error, bad[i].where, strlen(bad[i].where)) != 0 ||
            !strstr(error, bad[i].phrase))
            fail_msg("for:\n%s\ngot %d: %s\nwanted %s...%s", bad[i].text, r, error, bad[i].where,
                     bad[i].phrase);
        assert_int_equal(error[strlen(error) - 1], '.');
        assert_null(strchr(error, '\n'));
    }
}

static void test_nul_and_small_room(void **state)
{
    static const char nul[] = "[slot 0]\nexport=un\0ix\n";
    struct config c;
    char error[512], small[8];

    (void)state;
    assert_int_equal(config_parse(nul, sizeof nul - 1, "p.conf", true, &c, error, sizeof error),
                     -EINVAL);
    assert_non_null(strstr(error, "p.conf:2: this line holds a NUL byte"));
    assert_int_equal(config_parse("x", 1, "p.conf", true, &c, small, sizeof small), -EINVAL);
    assert_string_equal(small, "p.conf:");
}

static void test_loopback(void **state)
{
    (void)state;
    assert_true(config_is_loopback("127.0.0.1"));
    assert_true(config_is_loopback("127.255.0.3"));
    assert_true(config_is_loopback("::1"));
    assert_true(config_is_loopback("::ffff:127.0.0.1"));
    assert_false(config_is_loopback("128.0.0.1"));
    assert_false(config_is_loopback("0.0.0.0"));
    assert_false(config_is_loopback("::"));
    assert_false(config_is_loopback("::ffff:1.2.3.4"));
    assert_false(config_is_loopback("localhost"));
}

static void test_files(void **state)
{
    char path[] = "/tmp/test-config-XXXXXX", error[512];
    int fd = mkstemp(path);
    struct config c;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, SLOT, strlen(SLOT)), (ssize_t)strlen(SLOT));
    assert_int_equal(config_read(path, &c, error, sizeof error), 0);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    assert_int_equal(config_read(path, &c, error, sizeof error), -EFBIG);
    assert_non_null(strstr(error, "cannot be read: File too large; create it or name another"));
    close(fd);
    unlink(path);
    assert_int_equal(config_read(path, &c, error, sizeof error), -ENOENT);
    assert_non_null(strstr(error, "cannot be read: No such file"));
    assert_int_equal(config_read("/", &c, error, sizeof error), -EISDIR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_everything),
        cmocka_unit_test(test_bad),      cmocka_unit_test(test_nul_and_small_room),
        cmocka_unit_test(test_loopback), cmocka_unit_test(test_files),
        cmocka_unit_test(test_usb),      cmocka_unit_test(test_dbus),
        cmocka_unit_test(test_kernel),   cmocka_unit_test(test_auto),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
