// SPDX-License-Identifier: Apache-2.0
/*
 * What a Legacy object says of itself, in the introspection format of the D-Bus specification. Only
 * because Mount is there in three forms must this be written out; it says the same as the tables in
 * dbus-objects.c, which the tests compare.
 */
#include "api/dbus-parts.h"

#define METHOD(name, arguments) "  <method name=\"" name "\">\n" arguments "  </method>\n"
#define ARG(type, direction)    "   <arg type=\"" type "\" direction=\"" direction "\"/>\n"
#define IN(type)                ARG(type, "in")
#define OUT(type)               ARG(type, "out")
#define EMITS(when)                                                                                \
    "   <annotation name=\"org.freedesktop.DBus.Property.EmitsChangedSignal\" value=\"" when       \
    "\"/>\n"
#define PROPERTY(name, type, annotation)                                                           \
    "  <property name=\"" name "\" type=\"" type "\" access=\"read\">\n" annotation                \
    "  </property>\n"
#define CONSTANT(name, type)     PROPERTY(name, type, EMITS("const"))
#define SIGNALLED(name, type)    PROPERTY(name, type, "")
#define SILENT(name, type)       PROPERTY(name, type, EMITS("false"))
#define INTERFACE(name, members) " <interface name=\"" name "\">\n" members " </interface>\n"

/* clang-format off */
const char dbus_legacy_xml[] =
    "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n"
    "\"https://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n"
    "<node>\n"
    INTERFACE("org.freedesktop.DBus.Peer",
        METHOD("Ping", "")
        METHOD("GetMachineId", OUT("s")))
    INTERFACE("org.freedesktop.DBus.Introspectable",
        METHOD("Introspect", OUT("s")))
    INTERFACE("org.freedesktop.DBus.Properties",
        METHOD("Get", IN("s") IN("s") OUT("v"))
        METHOD("GetAll", IN("s") OUT("a{sv}"))
        METHOD("Set", IN("s") IN("s") IN("v"))
        "  <signal name=\"PropertiesChanged\">\n"
        "   <arg type=\"s\"/>\n   <arg type=\"a{sv}\"/>\n   <arg type=\"as\"/>\n"
        "  </signal>\n")
    INTERFACE(DBUS_MOUNTPOINT,
        CONSTANT("EndpointId", "s")
        CONSTANT("Mode", "y")
        SIGNALLED("Device", "s")
        CONSTANT("Socket", "s")
        CONSTANT("Timeout", "i")
        CONSTANT("BlockSize", "i")
        SILENT("RemainingInactivityTimeout", "i")
        CONSTANT("ImageURL", "s")
        SIGNALLED("WriteProtected", "b"))
    INTERFACE(DBUS_PROCESS,
        SIGNALLED("Active", "b")
        SIGNALLED("ExitCode", "i"))
    INTERFACE(DBUS_LEGACY,
        METHOD("Mount", IN("s") OUT("b"))
        METHOD("Mount", IN("s") IN("b") IN("h") OUT("b"))
        METHOD("Mount", IN("s") IN("b") IN("v") OUT("b"))
        METHOD("Unmount", OUT("b"))
        "  <signal name=\"Completion\">\n   <arg type=\"i\"/>\n  </signal>\n")
    INTERFACE(DBUS_STATS,
        SILENT("ReadIO", "t")
        SILENT("WriteIO", "t"))
    "</node>\n";
/* clang-format on */
