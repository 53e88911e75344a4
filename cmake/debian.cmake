# SPDX-License-Identifier: BSD-3-Clause
# Debian packages, one a component: `scripts/package` builds them. What lies in /usr/share/doc and the scripts
# that dpkg runs are in config/debian.
set(packages "programs:leasehold;library:libleasehold1;development:libleasehold-dev")
if(TARGET fio-leasehold)
  list(APPEND packages "fio:fio-leasehold")
endif()

# What is built for one Debian needs the libraries of that: each has a version of its own, older than the next one's.
cmake_host_system_information(RESULT distribution QUERY DISTRIB_INFO)
set(debian_version ${PROJECT_VERSION})
if(distribution_ID STREQUAL "debian" AND distribution_VERSION_ID)
  string(APPEND debian_version "~deb${distribution_VERSION_ID}u1")
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VERSION ${debian_version})
set(CPACK_PACKAGE_VENDOR "The Leasehold authors")
set(CPACK_PACKAGE_CONTACT "The Leasehold authors <maintainers@leasehold.org>")
# Each says its own.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_RECOMMENDS "ibverbs-providers, rdma-core")
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SUGGESTS "fio-leasehold, nvme-cli")
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_CONTROL_EXTRA
  "${PROJECT_SOURCE_DIR}/config/debian/postinst;${PROJECT_SOURCE_DIR}/config/debian/prerm;${PROJECT_SOURCE_DIR}/config/debian/postrm")
set(CPACK_COMPONENT_PROGRAMS_DESCRIPTION
"RDMA storage target for lease-protected DAX files
Serves files of an fsdax file system to remote hosts over RDMA, straight from
and into the memory that they lie in, and gives the file system its blocks
back in bounded time. Unmodified NVMe/RDMA hosts get the files as namespaces,
clients of the library read and write them with one-sided RDMA.

This package has the daemon leaseholdd and the program leasehold.")

set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/debian/shlibs "libleasehold 1 libleasehold1 (>= ${PROJECT_VERSION}~)\n")
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/debian/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA
  "${CMAKE_CURRENT_BINARY_DIR}/debian/shlibs;${CMAKE_CURRENT_BINARY_DIR}/debian/triggers")
set(CPACK_COMPONENT_LIBRARY_DESCRIPTION
"client library of the RDMA storage target Leasehold
Reads and writes files that a Leasehold target serves, over RDMA: by block
commands, and by grants of ranges of a file's own memory.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libleasehold1 (= ${debian_version})")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION
"client library of the RDMA storage target Leasehold, header
The header, what pkg-config wants to know, the manual page, and examples.")

set(CPACK_DEBIAN_FIO_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_FIO_PACKAGE_DEPENDS "fio (>= ${LEASEHOLD_FIO_VERSION}), fio (<< ${LEASEHOLD_FIO_VERSION}.99)")
set(CPACK_COMPONENT_FIO_DESCRIPTION
"engine of fio for files that a Leasehold target serves
Measures a Leasehold target with fio, by block commands and by grants:
ioengine=external:/usr/${CMAKE_INSTALL_LIBDIR}/fio/fio-leasehold.so")

# gzipped(FROM TO): as Debian's policy has it, without a date in it.
function(gzipped from to)
  file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/debian)
  execute_process(COMMAND gzip -9nc INPUT_FILE ${from} OUTPUT_FILE ${to} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# Its newest entry is of this build.
set(changelog ${CMAKE_CURRENT_BINARY_DIR}/debian/changelog.gz)
file(READ ${PROJECT_SOURCE_DIR}/config/debian/changelog entries)
string(REGEX REPLACE "^leasehold \\([^)]*\\)" "leasehold (${debian_version})" entries "${entries}")
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/debian/changelog "${entries}")
gzipped(${CMAKE_CURRENT_BINARY_DIR}/debian/changelog ${changelog})
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS config/debian/changelog)
foreach(package IN LISTS packages)
  string(REGEX MATCH "^[a-z]+" component ${package})
  string(REGEX REPLACE "^.*:" "" name ${package})
  string(TOUPPER ${component} upper)
  list(APPEND CPACK_COMPONENTS_ALL ${component})
  set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${name})
  install(FILES ${changelog} DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name} COMPONENT ${component})
  install(FILES ${PROJECT_SOURCE_DIR}/config/debian/copyright
    DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name} COMPONENT ${component})
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/config/debian/README.Debian
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/leasehold COMPONENT programs)
include(CPack)

# All that is installed; the tests are not.
add_custom_target(package-contents DEPENDS leaseholdd leasehold leasehold_shared man)
if(TARGET fio-leasehold)
  add_dependencies(package-contents fio-leasehold)
endif()
