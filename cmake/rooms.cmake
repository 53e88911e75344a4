# SPDX-License-Identifier: BSD-3-Clause
# A room is a folder with one front door: a static library that sees the headers of the rooms it
# links and of no others. That holds because each room's folder is reached through an include
# directory of its own, in the build tree.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
# Invariants are asserted in every build.
string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")
string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELWITHDEBINFO "${CMAKE_C_FLAGS_RELWITHDEBINFO}")

add_compile_options(-Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla
  -Wpointer-arith -Wwrite-strings -Wundef -Wno-missing-field-initializers -Werror
  -fno-common -fstack-protector-strong -fPIC)
add_compile_definitions(_GNU_SOURCE _FILE_OFFSET_BITS=64)

set(LEASEHOLD_SANITIZE "" CACHE STRING "Sanitizers: '', 'address,undefined' or 'thread'")
if(LEASEHOLD_SANITIZE)
  add_compile_options(-fsanitize=${LEASEHOLD_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${LEASEHOLD_SANITIZE})
  if(LEASEHOLD_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()

option(LEASEHOLD_FUZZ "Build the fuzzers of tests/fuzz: clang only" OFF)
if(LEASEHOLD_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
  add_link_options(-fsanitize=fuzzer-no-link)
endif()

# leasehold_room(NAME DEPS room... LIBS library... SOURCES file...)
function(leasehold_room name)
  cmake_parse_arguments(ROOM "" "" "DEPS;LIBS;SOURCES" ${ARGN})
  set(door ${CMAKE_BINARY_DIR}/include/${name})
  file(MAKE_DIRECTORY ${door})
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${door}/${name} SYMBOLIC)
  add_library(${name} STATIC ${ROOM_SOURCES})
  target_include_directories(${name} PUBLIC ${door})
  target_link_libraries(${name} PUBLIC ${ROOM_DEPS} PRIVATE ${ROOM_LIBS})
endfunction()

# leasehold_test(NAME [LABELS label...] DEPS room... LIBS library... SOURCES file... [TIMEOUT s])
# A cmocka program that ctest runs; exit 77 is a skip that says why.
function(leasehold_test name)
  cmake_parse_arguments(TEST "" "TIMEOUT" "DEPS;LIBS;SOURCES;LABELS" ${ARGN})
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 60)
  endif()
  if(LEASEHOLD_SANITIZE)
    math(EXPR TEST_TIMEOUT "${TEST_TIMEOUT} * 5")
  endif()
  if(NOT TEST_LABELS)
    set(TEST_LABELS unit)
  endif()
  add_executable(${name} ${TEST_SOURCES})
  target_link_libraries(${name} PRIVATE ${TEST_DEPS} ${TEST_LIBS} PkgConfig::CMOCKA)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${TEST_TIMEOUT}
    LABELS "${TEST_LABELS}")
endfunction()
